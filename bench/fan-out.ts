import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { FINALIZER } from "../common/names.ts";
import { isKubeError } from "../kube/errors.ts";
import { experimentResource } from "../kube/experiments.ts";
import { waitUntil } from "../lab/wait-until.ts";
import { type Arena, patience, startArena } from "../test/soak/arena.ts";
import { readRssMb } from "../test/soak/usage.ts";
import { authoredByAdmin } from "../test/support/authors.ts";
import type { BenchResult, BenchRow } from "./result.ts";

const SIZES = [1_000, 5_000, 10_000];
const GOALS: Readonly<Record<number, string>> = { 1_000: "≤ 1 s", 5_000: "≤ 4 s", 10_000: "≤ 10 s" };
/** So many pods have been faulted once before anything is measured: a controller of some age has its code compiled. */
const WARM_UP = 200;
const networkChaos = experimentResource("NetworkChaos");
const labelOf = (size: number): string => `first-${size}`;

/**
 * One experiment on very many pods: from the API server's answer to the last pod, and what that costs. API server, controller, protocol and
 * certificates are real, and every process has its own; the pods run nowhere, and their agents share two cores with everything else.
 */
export async function run(): Promise<BenchResult> {
  const sizes = sizesWanted();
  const arena = await startArena({
    pods: Math.max(...sizes, WARM_UP),
    labelsOf: (index) => Object.fromEntries([WARM_UP, ...sizes].filter((size) => index < size).map((size) => [labelOf(size), "yes"])),
    say: (line) => void process.stderr.write(`${line}\n`),
    controllerOptions: (process.env["SQUALL_CONTROLLER_OPTIONS"] ?? "").split(" ").filter((option) => option !== ""),
  });
  try {
    await measure(arena, WARM_UP);
    const rows: BenchRow[] = [];
    for (const size of sizes) rows.push(...(await measure(arena, size)));
    return {
      title: "One experiment on very many pods, over a real API server",
      rows,
      notes: [
        "Times are from the API server's answer to the last agent. API server, etcd, controller and all agents share the machine's cores.",
      ],
    };
  } finally {
    await arena.close();
  }
}

/** `SQUALL_FAN_OUT=1000,5000` measures less. */
function sizesWanted(): readonly number[] {
  const asked = (process.env["SQUALL_FAN_OUT"] ?? "").split(",").filter((text) => text !== "");
  return asked.length === 0 ? SIZES : asked.map(Number);
}

async function measure(arena: Arena, size: number): Promise<readonly BenchRow[]> {
  const { kube, namespace, agents, controller } = arena;
  const ref = { namespace, name: `cut-${size}` };
  const before = arena.cpuMs();
  await kube.create(networkChaos, {
    metadata: { ...ref, annotations: authoredByAdmin, finalizers: [FINALIZER] },
    spec: {
      action: "partition",
      mode: "all",
      selector: { namespaces: [namespace], labelSelectors: { [labelOf(size)]: "yes" } },
      externalTargets: ["203.0.113.0/24"],
    },
  });
  const createdMs = Date.now();
  const isEverywhere = async (): Promise<boolean | string> => {
    const { inForce } = await agents.state();
    return inForce === size || `on ${inForce}`;
  };
  await waitUntil(`the fault is in force on ${size} pods`, isEverywhere, { ...patience, everyMs: 50 });
  const { firstAppliedMs, lastAppliedMs } = await agents.state();
  const after = arena.cpuMs();
  const statusOf = async () => (await kube.get(networkChaos, ref)).status;
  await waitUntil(
    "the status says so",
    async () => (await statusOf()).conditions?.some(({ type, status }) => type === "AllInjected" && status === "True") === true,
    patience,
  );
  const saidMs = Date.now();
  const bytes = JSON.stringify(await statusOf()).length;
  const rssMb = readRssMb(controller.pid);

  await kube.delete(networkChaos, ref);
  const deletedMs = Date.now();
  const held = arena.cpuMs();
  await waitUntil("nothing is left on the pods", async () => (await agents.state()).touched === 0, { ...patience, everyMs: 50 });
  const { lastRecoveredMs } = await agents.state();
  const lifted = arena.cpuMs();
  await waitUntil(
    "the experiment is gone",
    () =>
      kube.get(networkChaos, ref).then(
        () => false,
        (error: unknown) => isKubeError(error, "not-found"),
      ),
    patience,
  );
  const goneMs = Date.now();
  const writes = await countWrites(arena.auditLog, ref.name);

  const name = `${size} pods`;
  const perPod = (part: keyof typeof before): number => (after[part] - before[part]) / size;
  return [
    { name: `${name}: in force on the first one`, value: (firstAppliedMs - createdMs) / 1000, unit: "s" },
    { name: `${name}: in force on the last one`, value: (lastAppliedMs - createdMs) / 1000, unit: "s", goal: GOALS[size] },
    { name: `${name}: the status says so`, value: (saidMs - createdMs) / 1000, unit: "s" },
    { name: `${name}: taken back from the last one`, value: (lastRecoveredMs - deletedMs) / 1000, unit: "s" },
    { name: `${name}: the experiment is gone`, value: (goneMs - deletedMs) / 1000, unit: "s" },
    { name: `${name}: writes of the controller, creation to end`, value: writes, unit: "", goal: "≤ 30" },
    { name: `${name}: CPU of the controller for each pod until in force`, value: perPod("controller"), unit: "ms" },
    { name: `${name}: CPU of the agents for each pod until in force`, value: perPod("agents"), unit: "ms" },
    { name: `${name}: CPU of API server and etcd for each pod until in force`, value: perPod("apiServer"), unit: "ms" },
    {
      name: `${name}: CPU of the controller for each pod until taken back`,
      value: (lifted.controller - held.controller) / size,
      unit: "ms",
    },
    { name: `${name}: memory of the controller while in force`, value: rssMb, unit: "MB" },
    { name: `${name}: size of the status`, value: bytes / 1000, unit: "kB" },
  ];
}

/** Of the controller for this experiment, as the API server's audit log has them; events that it writes beside its work have their time to arrive. */
async function countWrites(auditLog: string, name: string): Promise<number> {
  await sleep(2_000);
  return (await readFile(auditLog, "utf8")).split("\n").filter((line) => {
    if (!line.includes(name) || !line.includes("squall-controller")) return false;
    const { stage, verb } = JSON.parse(line) as { readonly stage: string; readonly verb: string };
    return stage === "ResponseComplete" && ["create", "update", "patch", "delete"].includes(verb);
  }).length;
}
