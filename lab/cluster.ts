import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { assertNever } from "../common/assert-never.ts";
import { withLock } from "./lock.ts";
import { createNetwork, listNetworkProcesses } from "./network.ts";
import type { Binaries } from "./node/components.ts";
import { node, stateLayout } from "./node/layout.ts";
import { nodeOrder } from "./node/order.ts";
import type { Places } from "./places.ts";
import { describeProcesses, hasCode, identify, isAlive, type ProcessEntry } from "./process-table.ts";
import { elapsed, type Progress } from "./progress.ts";
import { run, SYSTEM_PATH } from "./run.ts";
import { isAnythingLeft, tearDown } from "./tear-down.ts";

/** What everybody needs who wants to use the cluster. */
export interface RunningCluster {
  readonly kubeconfig: string;
  /** One JSON object a line, two lines a request; see control-plane.ts. */
  readonly auditLog: string;
  readonly logs: string;
  /** Path of a kubectl of its version. */
  readonly kubectl: string;
  /** When it became ready. */
  readonly since: Date;
  /** The node's own processes by this machine's ids: etcd, kube-apiserver, containerd, kubelet, …; not those in pods. */
  readonly processes: readonly ProcessEntry[];
}

export type ClusterState =
  | { readonly is: "running"; readonly cluster: RunningCluster }
  | { readonly is: "broken"; readonly why: string }
  | { readonly is: "down" };

const START_TIMEOUT_MS = 120_000;
const POLL_MS = 100;

/** Says what is there, without changing anything. */
export async function readClusterState({ state }: Pick<Places, "state">): Promise<ClusterState> {
  const layout = stateLayout(state);
  const processes = await describeProcesses(await listNetworkProcesses());
  const since = await readIfThere(layout.ready);
  if (since === undefined || processes.length === 0) {
    if (!(await isAnythingLeft(state))) return { is: "down" };
    return { is: "broken", why: processes.length === 0 ? "its processes are gone" : "it never became ready" };
  }
  const missing = [
    "etcd",
    "containerd",
    "kube-apiserver",
    "kubelet",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "coredns",
  ].filter((name) => !processes.some(({ program }) => program === name));
  if (missing.length > 0) return { is: "broken", why: `${missing.join(", ")} not running` };
  const kubectl = await readKubectl(layout.order);
  if (kubectl === undefined) return { is: "broken", why: `${layout.order} is missing or damaged` };
  const { kubeconfig, auditLog, logs } = layout;
  const why = await whyUnhealthy(kubeconfig, kubectl);
  if (why !== undefined) return { is: "broken", why };
  return { is: "running", cluster: { kubeconfig, auditLog, logs, kubectl, since: new Date(since), processes } };
}

/**
 * Has a cluster run: the one that runs already, or a new one, after removing whatever is left of a broken one. Needs root.
 * Throws an Error with the last words of what failed.
 */
export async function bringClusterUp(places: Places, binaries: Binaries, progress: Progress): Promise<RunningCluster> {
  return await withStateLock(places, progress, async () => {
    const before = await readClusterState(places);
    if (before.is === "running") return before.cluster;
    if (before.is === "broken") {
      await progress.during(`Removing what is left of an earlier cluster (${before.why})`, () => tearDown(places.state));
    }
    await progress.during("Starting the cluster", () => startNode(places.state, binaries));
    const after = await readClusterState(places);
    if (after.is === "running") return after.cluster;
    throw new Error(`The cluster started and broke at once: ${after.is === "broken" ? after.why : "nothing of it is left"}.`);
  });
}

/** Removes the cluster and everything it made; fine when there is none. Returns whether there was something to remove. */
export async function takeClusterDown(places: Places, progress: Progress): Promise<boolean> {
  return await withStateLock(places, progress, async () => {
    if (!(await isAnythingLeft(places.state))) return false;
    await progress.during("Stopping the cluster", () => tearDown(places.state));
    return true;
  });
}

function withStateLock<T>({ state }: Places, progress: Progress, work: () => Promise<T>): Promise<T> {
  return withLock(`${state}.lock`, work, (owner) => progress.say(`Process ${owner} is starting or stopping the lab; waiting for it.`));
}

async function startNode(state: string, binaries: Binaries): Promise<void> {
  const layout = stateLayout(state);
  await mkdir(layout.logs, { recursive: true });
  await writeFile(layout.order, JSON.stringify({ binaries }));
  await createNetwork();
  const pid = await spawnNode(state);
  await writeFile(layout.outer, await identify(pid));
  const end = performance.now() + START_TIMEOUT_MS;
  try {
    while ((await readIfThere(layout.ready)) === undefined) {
      const why = await readIfThere(layout.failed);
      if (why !== undefined) throw new Error(why);
      if (!(await isAlive(pid))) throw new Error("its first process ended");
      if (performance.now() > end) throw new Error(`it is not ready after ${START_TIMEOUT_MS / 1000} s`);
      await sleep(POLL_MS);
    }
  } catch (error) {
    // What is left stays for reading; the next `up` or `down` removes it.
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`The cluster did not start: ${reason}\nIts logs are in ${layout.logs}.`, { cause: error });
  }
}

/**
 * Starts the node in namespaces of its own and returns the id of the process whose death ends all of it. tini(1) is process 1 there:
 * it reaps what pods leave behind, and ends when our own first process does.
 */
async function spawnNode(state: string): Promise<number> {
  const log = openSync(join(stateLayout(state).logs, "node.log"), "a");
  const namespaces = ["--pid", "--mount", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc"];
  const main = join(import.meta.dirname, "node", "main.ts");
  const environment = ["env", "-i", `PATH=${SYSTEM_PATH}`, `HOME=${state}`];
  const first = [...environment, "tini", "--", process.execPath, main, state];
  const argv = [`--net=/run/netns/${node.namespace}`, "unshare", ...namespaces, ...first];
  const child = spawn("nsenter", argv, { detached: true, cwd: "/", stdio: ["ignore", log, log] });
  closeSync(log);
  return await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("spawn", () => {
      child.unref();
      resolve(child.pid ?? 0);
    });
  });
}

/** The kubectl that the cluster was started with. */
async function readKubectl(order: string): Promise<string | undefined> {
  try {
    return nodeOrder.parse(JSON.parse(await readFile(order, "utf8"))).binaries.kubectl;
  } catch {
    // Whatever is wrong with the file, this is no cluster to go on with.
    return undefined;
  }
}

async function whyUnhealthy(kubeconfig: string, kubectl: string): Promise<string | undefined> {
  try {
    const condition = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}';
    const argv = [kubectl, `--kubeconfig=${kubeconfig}`, "--request-timeout=4s", "get", "node", node.name, "-o", condition];
    return (await run(argv, { timeoutMs: 6000 })) === "True" ? undefined : "its node is not Ready";
  } catch {
    return "its API server does not answer";
  }
}

async function readIfThere(file: string): Promise<string | undefined> {
  return await readFile(file, "utf8").catch((error: unknown) => {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  });
}

/** A state in words, for people. */
export function describeCluster(state: ClusterState): string {
  switch (state.is) {
    case "running": {
      const { since, kubeconfig, auditLog, logs, processes } = state.cluster;
      return [
        `The cluster has been running for ${elapsed(Date.now() - since.getTime())}.`,
        `  kubeconfig ${kubeconfig}`,
        `  audit log  ${auditLog}`,
        `  logs       ${logs}`,
        ...processes.map(({ program, pid }) => `  ${String(pid).padStart(8)}  ${program}`),
      ].join("\n");
    }
    case "broken":
      return `The cluster is broken: ${state.why}. "npm run lab -- up" replaces it, "npm run lab -- down" removes it.`;
    case "down":
      return "There is no cluster. Start one with: npm run lab -- up";
    default:
      return assertNever(state);
  }
}
