import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { createAuthority, openAuthority } from "../certs/authority.ts";
import { CONTROLLER_URI } from "../certs/identity.ts";
import { systemClock } from "../common/clock.ts";
import { silentLog } from "../common/log.ts";
import { FINALIZER, labels, OPTED_IN, SIDECAR_CONTAINER } from "../common/names.ts";
import { createDial } from "../controller/agents/dial.ts";
import { startExperiments } from "../controller/experiments.ts";
import { World } from "../controller/world.ts";
import { connectKube, type KubeConnection } from "../kube/client.ts";
import { isKubeError } from "../kube/errors.ts";
import { experimentResource } from "../kube/experiments.ts";
import { namespaces, pods } from "../kube/resources.ts";
import { addressOf, forkAgents } from "../test/soak/agents.ts";
import type { Usage } from "../test/soak/agents-process.ts";
import { startTestApiServer } from "../test/support/api-server.ts";
import { authoredByAdmin } from "../test/support/authors.ts";
import { installCrds } from "../test/support/crds.ts";
import type { BenchResult, BenchRow } from "./result.ts";

const SIZES = [1_000, 5_000, 10_000];
const GOALS: Readonly<Record<number, string>> = { 1_000: "≤ 1 s", 5_000: "≤ 4 s", 10_000: "≤ 10 s" };
const PORT = 19_447;
const DAY_MS = 24 * 3_600_000;
const networkChaos = experimentResource("NetworkChaos");

/**
 * One experiment on very many pods: from the API server's answer to the last pod, and what that costs the API server. The API server, the
 * controller and every agent's protocol and certificate are real; the pods run nowhere, and their agents share one process and two cores with
 * everything else.
 */
export async function run(): Promise<BenchResult> {
  const api = await startTestApiServer();
  const kube = connectKube({ process: "bench", version: "0", kubeconfig: api.kubeconfig });
  const stored = await createAuthority({ now: new Date(), lifetimeMs: DAY_MS });
  const authority = openAuthority(stored);
  const own = await authority.issueClient(CONTROLLER_URI, { now: new Date(), lifetimeMs: DAY_MS });
  await installCrds(kube);
  const controllerKube = connectKube({ process: "controller", version: "0", kubeconfig: api.kubeconfig });
  const world = new World({ kube: controllerKube, clock: systemClock, log: silentLog });
  const end = new AbortController();
  const rows: BenchRow[] = [];
  try {
    for (const size of SIZES) await prepare(kube, size);
    await until(() => kube.list(networkChaos).then(() => true));
    world.start();
    await world.synced();
    const experiments = startExperiments({
      leadership: { epoch: 1, signal: end.signal },
      kube: controllerKube,
      world,
      dial: createDial({ credentials: () => ({ ...own, trusted: authority.certificate }), port: PORT }),
      clock: systemClock,
      log: silentLog,
      workers: 4,
      randomBelow: () => 0,
      isLeading: () => true,
      metrics: { startVisit: () => () => undefined, countUnconfirmed: () => undefined },
    });
    for (const size of SIZES) {
      const agents = forkAgents();
      const { items } = await kube.list(pods, { namespace: namespaceOf(size) });
      const uids = new Map(items.map(({ metadata }) => [metadata.name, metadata.uid]));
      const inOrder = Array.from({ length: size }, (_, index) => uids.get(`p-${index}`) ?? "");
      await agents.ask({ do: "start", namespace: namespaceOf(size), uids: inOrder, port: PORT, authority: stored });
      rows.push(...(await measure(kube, size, async () => (await agents.ask({ do: "usage" })) as Usage, api.auditLog)));
      agents.end();
    }
    end.abort();
    await experiments.close();
  } finally {
    end.abort();
    await world.close();
    await Promise.all([kube.close(), controllerKube.close()]);
    await api.close();
  }
  return {
    title: "One experiment on very many pods, over a real API server",
    rows,
    notes: ["Times are from the API server's answer to the last agent. Pods, API server, etcd, controller and all agents share two cores."],
  };
}

const namespaceOf = (size: number): string => `fan-out-${size}`;

async function prepare(kube: KubeConnection, size: number): Promise<void> {
  const namespace = namespaceOf(size);
  await kube.create(namespaces, { metadata: { name: namespace, labels: { [labels.inject]: OPTED_IN } } });
  const image = { image: "none" };
  const make = async (index: number): Promise<void> => {
    const name = `p-${index}`;
    await kube.create(pods, {
      metadata: { namespace, name, labels: { app: "web" } },
      spec: {
        nodeName: "node",
        initContainers: [{ ...image, name: SIDECAR_CONTAINER, restartPolicy: "Always" }],
        containers: [{ ...image, name: "app" }],
      },
    });
    const ip = addressOf(index);
    const status = { phase: "Running", podIP: ip, podIPs: [{ ip }] };
    await kube.patch(pods, { namespace, name }, { status }, { type: "merge", subresource: "status" });
  };
  let next = 0;
  await Promise.all(
    Array.from({ length: 32 }, async () => {
      while (next < size) await make(next++);
    }),
  );
}

async function measure(
  kube: KubeConnection,
  size: number,
  readUsage: () => Promise<Usage>,
  auditLog: string,
): Promise<readonly BenchRow[]> {
  const ref = { namespace: namespaceOf(size), name: `cut-${size}` };
  const cpu = process.cpuUsage();
  await kube.create(networkChaos, {
    metadata: { ...ref, annotations: authoredByAdmin, finalizers: [FINALIZER] },
    spec: {
      action: "partition",
      mode: "all",
      selector: { namespaces: [ref.namespace], labelSelectors: { app: "web" } },
      externalTargets: ["203.0.113.0/24"],
    },
  });
  const createdMs = Date.now();
  await until(async () => {
    const { status } = await kube.get(networkChaos, ref);
    return status.conditions?.some(({ type, status: is }) => type === "AllInjected" && is === "True") ?? false;
  });
  const saidMs = Date.now() - createdMs;
  const { user, system } = process.cpuUsage(cpu);
  const { lastAppliedMs, rssMb } = await readUsage();
  const bytes = JSON.stringify((await kube.get(networkChaos, ref)).status).length;
  await kube.delete(networkChaos, ref);
  const deletedMs = Date.now();
  await until(async () =>
    kube.get(networkChaos, ref).then(
      () => false,
      (error: unknown) => isKubeError(error, "not-found"),
    ),
  );
  const { lastRecoveredMs } = await readUsage();
  await sleep(2_000);
  const writes = (await readFile(auditLog, "utf8")).split("\n").filter((line) => {
    if (!line.includes(ref.name) || !line.includes("squall-controller")) return false;
    const { stage, verb } = JSON.parse(line) as { readonly stage: string; readonly verb: string };
    return stage === "ResponseComplete" && ["create", "update", "patch", "delete"].includes(verb);
  });
  const name = `${size} pods`;
  return [
    { name: `${name}: in force on the last one`, value: (lastAppliedMs - createdMs) / 1000, unit: "s", goal: GOALS[size] },
    { name: `${name}: the status says so`, value: saidMs / 1000, unit: "s" },
    { name: `${name}: taken back from the last one`, value: (lastRecoveredMs - deletedMs) / 1000, unit: "s" },
    { name: `${name}: writes of the controller, creation to end`, value: writes.length, unit: "", goal: "≤ 30" },
    { name: `${name}: CPU of the controller until then`, value: (user + system) / 1e6, unit: "s" },
    { name: `${name}: size of the status`, value: bytes / 1000, unit: "kB" },
    { name: `${name}: memory of all agents`, value: rssMb, unit: "MB" },
  ];
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const limit = Date.now() + 120_000;
  while (!(await holds().catch(() => false))) {
    if (Date.now() > limit) throw new Error("It did not come to pass within two minutes.");
    await sleep(100);
  }
}
