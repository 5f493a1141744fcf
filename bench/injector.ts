import jsonpatch, { type Operation } from "fast-json-patch";
import { isJsonObject, type JsonObject } from "../api/json.ts";
import { SIDECAR_CONTAINER } from "../common/names.ts";
import { corpus } from "./pod-corpus.ts";
import type { BenchResult } from "./result.ts";
import { ask, load, renderReview, startServer } from "./reviews.ts";

const SECONDS = 4;
const connectionCounts = [1, 8, 25, 100] as const;
const asPod = { group: "", kind: "Pod", namespace: "shop" };

/** The injector against a bare node:https handler, alternating, in one run, over pods of every size and sort. Load and server share the machine. */
export async function run(): Promise<BenchResult> {
  const bodies = corpus.map(({ pod }) => ({ path: "/inject", body: renderReview(pod, asPod) }));
  const servers = { injector: await startServer("webhook"), bare: await startServer("bare") };
  try {
    for (const { title, pod, isInjected } of corpus) await check(servers.injector.port, { title, pod, isInjected });
    for (const server of Object.values(servers)) await load(server, bodies, { connections: 8, seconds: SECONDS }); // warm-up
    const rows: BenchResult["rows"][number][] = [];
    for (const connections of connectionCounts) {
      const bare = await load(servers.bare, bodies, { connections, seconds: SECONDS });
      const injector = await load(servers.injector, bodies, { connections, seconds: SECONDS });
      rows.push(
        { name: `${connections} connections: injector`, value: injector.perSecond, unit: "reviews/s" },
        { name: `${connections} connections: bare handler`, value: bare.perSecond, unit: "reviews/s" },
        { name: `${connections} connections: ratio`, value: injector.perSecond / bare.perSecond, unit: "", goal: "at least 0.4" },
        { name: `${connections} connections: per second of its CPU`, value: injector.perCpuSecond, unit: "reviews" },
        { name: `${connections} connections: p99`, value: injector.p99Ms, unit: "ms" },
      );
    }
    const bytes = bodies.reduce((sum, { body }) => sum + body.length, 0);
    return {
      title: "Injector: reviews per second against a bare node:https handler of the same run",
      rows,
      notes: [
        `${bodies.length} reviews of ${Math.round(bytes / bodies.length / 1000)} kB on average; TLS, keep-alive; load and server share two cores. Every answer was applied to its pod and checked first.`,
      ],
    };
  } finally {
    for (const server of Object.values(servers)) server.end();
  }
}

/** A quick answer that is wrong counts for nothing. */
async function check(port: number, { title, pod, isInjected }: (typeof corpus)[number]): Promise<void> {
  const { allowed, patch } = await ask(port, "/inject", renderReview(pod, asPod));
  const steps = patch === undefined ? [] : (JSON.parse(Buffer.from(patch, "base64").toString()) as Operation[]);
  const after = jsonpatch.applyPatch(structuredClone(pod), steps, true).newDocument;
  const had = sidecarsOf(pod);
  if (!allowed || sidecarsOf(after) !== (isInjected ? had + 1 : had)) throw new Error(`The injector answers wrongly for a pod: ${title}.`);
}

function sidecarsOf({ spec }: JsonObject): number {
  const init = isJsonObject(spec) && Array.isArray(spec["initContainers"]) ? spec["initContainers"] : [];
  return init.filter((container) => isJsonObject(container) && container["name"] === SIDECAR_CONTAINER).length;
}
