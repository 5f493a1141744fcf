import { mkdir, readFile, writeFile } from "node:fs/promises";
import { assertNever } from "../common/assert-never.ts";
import { readIfThere } from "./files.ts";
import { withLock } from "./lock.ts";
import { addUmlCable, createNetwork, listNetworkProcesses } from "./network.ts";
import { familiesOf, type IpFamilies } from "./node/addresses.ts";
import type { Binaries } from "./node/components.ts";
import { type LabNode, nodeLayout, nodes, stateLayout } from "./node/layout.ts";
import { type NodeOrder, nodeOrder } from "./node/order.ts";
import type { Places } from "./places.ts";
import { describeProcesses, type ProcessEntry } from "./process-table.ts";
import { elapsed, type Progress } from "./progress.ts";
import { waitUntil } from "./wait-until.ts";
import { run } from "./run.ts";
import type { RunningNode } from "./run-on-node.ts";
import { startNode } from "./start-node.ts";
import { isAnythingLeft, readOuter, tearDown } from "./tear-down.ts";

/** What a cluster consists of. A second node can join later; families of addresses are fixed when it starts. */
export type ClusterShape = Pick<NodeOrder, "ipFamilies" | "hasUml">;

/** What `up` makes unless told otherwise. */
export const plainShape: ClusterShape = { ipFamilies: "ipv4", hasUml: false };

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
  readonly ipFamilies: IpFamilies;
  /** The nodes that it has. */
  readonly nodes: readonly RunningNode[];
  /** The first node's own processes by this machine's ids: etcd, kube-apiserver, containerd, kubelet, …; not those in pods. */
  readonly processes: readonly ProcessEntry[];
}

export type ClusterState =
  | { readonly is: "running"; readonly cluster: RunningCluster }
  | { readonly is: "broken"; readonly why: string }
  | { readonly is: "down" };

/** User-Mode Linux is slow, and the kubelet there waits for the first node. */
const UML_READY_TIMEOUT_MS = 90_000;

/** Says what is there, without changing anything. */
export async function readClusterState({ state }: Pick<Places, "state">): Promise<ClusterState> {
  const layout = stateLayout(state);
  const processes = await describeProcesses(await listNetworkProcesses());
  const since = await readIfThere(nodeLayout(state, nodes.lab).ready);
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
  const order = await readOrder(layout.order);
  if (order === undefined) return { is: "broken", why: `${layout.order} is missing or damaged` };
  // Kubernetes notices only after its grace time of 50 s that a whole node is gone.
  for (const node of nodesOf(order)) {
    if ((await readOuter(state, node)) === undefined) return { is: "broken", why: `node ${node.name} has ended` };
  }
  const { kubeconfig, auditLog, logs } = layout;
  const why = await whyUnhealthy(kubeconfig, order);
  if (why !== undefined) return { is: "broken", why };
  return {
    is: "running",
    cluster: {
      kubeconfig,
      auditLog,
      logs,
      kubectl: order.binaries.kubectl,
      since: new Date(since),
      ipFamilies: order.ipFamilies,
      nodes: nodesOf(order).map((node) => ({ name: node.name, requests: nodeLayout(state, node).requests })),
      processes,
    },
  };
}

/**
 * Has a cluster run that is at least what was asked for: the one that runs already, with a second node added where it lacks one, or a new
 * one, after removing whatever is left of a broken one. Needs root. Throws an Error with the last words of what failed.
 */
export async function bringClusterUp(
  places: Places,
  binaries: Binaries,
  progress: Progress,
  shape: ClusterShape = plainShape,
): Promise<RunningCluster> {
  return await withStateLock(places, progress, async () => {
    const before = await readClusterState(places);
    if (before.is === "running") {
      const next = planJoining(before.cluster, shape);
      if (next === "nothing") return before.cluster;
      await progress.during("Adding a node in User-Mode Linux", () => joinUml(places.state));
    } else {
      if (before.is === "broken") {
        await progress.during(`Removing what is left of an earlier cluster (${before.why})`, () => tearDown(places.state));
      }
      await progress.during("Starting the cluster", () => startCluster(places.state, { binaries, ...shape }));
    }
    const after = await readClusterState(places);
    if (after.is === "running") return after.cluster;
    throw new Error(`The cluster started and broke at once: ${after.is === "broken" ? after.why : "nothing of it is left"}.`);
  });
}

/** What a running cluster needs to be what was asked for. Throws an Error that says what to do where that takes a new cluster. */
export function planJoining(
  { ipFamilies, nodes: there }: Pick<RunningCluster, "ipFamilies" | "nodes">,
  wanted: ClusterShape,
): "nothing" | "join-uml" {
  if (wanted.ipFamilies === "dual" && ipFamilies !== "dual") {
    throw new Error(
      "The cluster that runs has IPv4 only, and that is fixed when a cluster starts.\n" +
        `Replace it with: npm run lab -- down && npm run lab -- up --dual-stack${wanted.hasUml ? " --with-uml" : ""}`,
    );
  }
  return wanted.hasUml && !there.some(({ name }) => name === "uml") ? "join-uml" : "nothing";
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

async function startCluster(state: string, order: NodeOrder): Promise<void> {
  await mkdir(state, { recursive: true });
  await writeFile(stateLayout(state).order, JSON.stringify(order));
  const families = familiesOf(order.ipFamilies);
  await createNetwork(families);
  if (order.hasUml) await addUmlCable(families);
  await Promise.all(nodesOf(order).map((node) => startNode(state, node)));
  if (order.hasUml) await waitForUml(stateLayout(state).kubeconfig, order);
}

async function joinUml(state: string): Promise<void> {
  const file = stateLayout(state).order;
  const order: NodeOrder = { ...nodeOrder.parse(JSON.parse(await readFile(file, "utf8"))), hasUml: true };
  await writeFile(file, JSON.stringify(order));
  await addUmlCable(familiesOf(order.ipFamilies));
  await startNode(state, nodes.uml);
  await waitForUml(stateLayout(state).kubeconfig, order);
}

async function waitForUml(kubeconfig: string, order: NodeOrder): Promise<void> {
  const isReady = async (): Promise<boolean> => (await whyUnhealthy(kubeconfig, order)) === undefined;
  await waitUntil("Node uml does not become Ready", isReady, { timeoutMs: UML_READY_TIMEOUT_MS });
}

function nodesOf({ hasUml }: ClusterShape): readonly LabNode[] {
  return hasUml ? [nodes.lab, nodes.uml] : [nodes.lab];
}

/** What the cluster was started with. */
async function readOrder(file: string): Promise<NodeOrder | undefined> {
  try {
    return nodeOrder.parse(JSON.parse(await readFile(file, "utf8")));
  } catch {
    // Whatever is wrong with the file, this is no cluster to go on with.
    return undefined;
  }
}

async function whyUnhealthy(kubeconfig: string, order: NodeOrder): Promise<string | undefined> {
  try {
    const condition = 'jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}';
    const access = [order.binaries.kubectl, `--kubeconfig=${kubeconfig}`, "--request-timeout=4s"];
    const found = (await run([...access, "get", "nodes", "-o", condition], { timeoutMs: 6000 })).split("\n");
    const unready = nodesOf(order).filter(({ name }) => !found.includes(`${name}=True`));
    return unready.length === 0 ? undefined : `its node ${unready.map(({ name }) => name).join(" and ")} is not Ready`;
  } catch {
    return "its API server does not answer";
  }
}

/** A state in words, for people. */
export function describeCluster(state: ClusterState): string {
  switch (state.is) {
    case "running": {
      const { since, ipFamilies, nodes: there, kubeconfig, auditLog, logs, processes } = state.cluster;
      return [
        `The cluster has been running for ${elapsed(Date.now() - since.getTime())}.`,
        ...there.map(({ name }) => `  node       ${name}, ${describeKernel(nodes[name])}, Ready`),
        `  addresses  ${ipFamilies === "dual" ? "IPv4 and IPv6" : "IPv4"}`,
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

function describeKernel({ kernel }: LabNode): string {
  return kernel === "uml" ? "on a kernel of its own in User-Mode Linux" : "on this machine's kernel";
}
