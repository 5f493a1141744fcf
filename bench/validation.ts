import type { JsonObject } from "../api/json.ts";
import { kinds } from "../api/kinds/registry.ts";
import { soundManifests } from "../test/support/manifests.ts";
import { median } from "../test/support/statistics.ts";
import type { BenchResult, BenchRow } from "./result.ts";
import { ask, load, renderReview, startServer } from "./reviews.ts";

const SECONDS = 10;
const ROUNDS = 60;
/** What etcd takes of one request, less what is not the spec; see https://etcd.io/docs/v3.6/dev-guide/limit/. */
const LARGEST_BYTES = 1_000_000;

/** What it costs to judge objects of all kinds: mixed ones over TLS, and the largest Workflow that the API server would store. */
export async function run(): Promise<BenchResult> {
  const mixed = soundManifests
    .filter(({ kind }) => kinds[kind].madeBy === "anyone")
    .flatMap(({ kind, object }) => {
      const { namespace } = object.metadata;
      const body = renderReview(object, { group: kinds[kind].group, kind, ...(namespace !== undefined && { namespace }) });
      return [
        { path: "/mutate", body },
        {
          path: "/validate",
          body: renderReview(authored(object), { group: kinds[kind].group, kind, ...(namespace !== undefined && { namespace }) }),
        },
      ];
    });
  const server = await startServer("webhook");
  try {
    await load(server, mixed, { connections: 8, seconds: 3 }); // warm-up
    const found = await load(server, mixed, { connections: 8, seconds: SECONDS });
    const workflow = renderReview(authored(largestWorkflow()), { group: "chaos-mesh.org", kind: "Workflow", namespace: "shop" });
    const times: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const began = performance.now();
      const { allowed, status } = await ask(server.port, "/validate", workflow);
      times.push(performance.now() - began);
      if (!allowed) throw new Error(`The largest Workflow is refused: ${status?.message.slice(0, 300)}`);
    }
    const sorted = times.slice(ROUNDS / 6).toSorted((one, other) => one - other);
    const rows: readonly BenchRow[] = [
      { name: "mixed kinds, 8 connections", value: found.perSecond, unit: "reviews/s" },
      { name: "mixed kinds: per second of the webhook's CPU", value: found.perCpuSecond, unit: "reviews", goal: "at least 1000" },
      { name: "mixed kinds: p99", value: found.p99Ms, unit: "ms" },
      { name: "largest Workflow: p50", value: median(sorted), unit: "ms" },
      { name: "largest Workflow: p99", value: sorted.at(-1) ?? 0, unit: "ms", goal: "at most 50 ms" },
    ];
    return {
      title: "Webhook: what it costs to judge objects",
      rows,
      notes: [
        `${mixed.length} reviews of all kinds, half of them to mutate; authors may do everything. The Workflow has ${Math.round(workflow.length / 1000)} kB; the worst of ${sorted.length} rounds stands for its p99.`,
      ],
    };
  } finally {
    server.end();
  }
}

/** As the mutating webhook leaves it. */
const authored = (object: JsonObject & { readonly metadata: object }): JsonObject => {
  const { annotations } = object.metadata as { readonly annotations?: object };
  const author = JSON.stringify({ username: "jane", groups: ["system:authenticated"] });
  return { ...object, metadata: { ...object.metadata, annotations: { ...annotations, "squall.dev/author": author } } };
};

function largestWorkflow(): JsonObject & { readonly metadata: object } {
  const base = { mode: "all", selector: { namespaces: ["shop"], labelSelectors: { app: "web" } } };
  const templates: object[] = [{ name: "all", templateType: "Parallel", children: ["t1", "t2"] }];
  let bytes = 0;
  for (let index = 1; bytes < LARGEST_BYTES; index++) {
    const template =
      index % 4 === 0
        ? {
            name: `t${index}`,
            templateType: "Schedule",
            deadline: "1m",
            schedule: { schedule: "*/5 * * * *", type: "PodChaos", concurrencyPolicy: "Forbid", podChaos: { action: "pod-kill", ...base } },
          }
        : {
            name: `t${index}`,
            templateType: "NetworkChaos",
            deadline: "3m",
            networkChaos: {
              action: "delay",
              ...base,
              delay: { latency: "200ms", jitter: "10ms" },
              externalTargets: ["203.0.113.1", "db.example.com:5432"],
            },
          };
    templates.push(template);
    bytes += JSON.stringify(template).length;
  }
  return {
    apiVersion: "chaos-mesh.org/v1alpha1",
    kind: "Workflow",
    metadata: { name: "largest", namespace: "shop" },
    spec: { entry: "all", templates },
  };
}
