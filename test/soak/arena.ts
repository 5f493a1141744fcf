import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { ROTATION_RULES } from "../../certs/rotation.ts";
import { CA_SECRET, labels, OPTED_IN, SIDECAR_CONTAINER, SYSTEM_NAMESPACE } from "../../common/names.ts";
import { keepTrustStore } from "../../controller/certificates/ca-store.ts";
import { connectKube, type KubeConnection } from "../../kube/client.ts";
import { namespaces, pods, secrets } from "../../kube/resources.ts";
import { findFreePorts } from "../../lab/free-ports.ts";
import { type Patience, waitUntil } from "../../lab/wait-until.ts";
import { startTestApiServer } from "../support/api-server.ts";
import { installCrds } from "../support/crds.ts";
import { readCpuMs } from "../support/process-cpu.ts";
import { addressOf, type Agents, startAgents } from "./agents.ts";
import type { SimulatedPod } from "./agents-process.ts";
import { type Asked, forkAsked } from "./orders.ts";
import type { Usage } from "./usage.ts";
import type { ProbeOrder } from "./usage-probe.ts";

const MANIFESTS = join(import.meta.dirname, "../../manifests");
const REQUESTS_AT_ONCE = 32;
/** What throws meanwhile is not there yet. */
export const patience: Patience = { timeoutMs: 120_000, mayFail: true };
const LAST_LINES = 40;

/** The controller as it ships between a real API server and very many simulated sidecars, each in a process of its own. */
export interface Arena {
  /** With all rights. */
  readonly kube: KubeConnection;
  /** Of all pods; they are called p-0, p-1, … */
  readonly namespace: string;
  readonly auditLog: string;
  readonly agents: Agents;
  readonly controller: {
    readonly pid: number;
    usage(): Promise<Usage>;
    /** Stops it for as long as the count takes: with much in memory it may cost it the leadership. */
    timers(): Promise<number>;
    /** Text of its metrics page. */
    metrics(): Promise<string>;
    /** The end of its log: warnings and errors. */
    lastWords(): string;
  };
  /** CPU used so far, in milliseconds. */
  cpuMs(): { readonly controller: number; readonly agents: number; readonly apiServer: number };
  close(): Promise<void>;
}

export interface ArenaOptions {
  readonly pods: number;
  readonly labelsOf: (index: number) => Readonly<Record<string, string>>;
  readonly say: (line: string) => void;
  /** More options of Node for the controller, such as `--cpu-prof`. */
  readonly controllerOptions?: readonly string[] | undefined;
}

export async function startArena({ pods: count, labelsOf, say, controllerOptions = [] }: ArenaOptions): Promise<Arena> {
  const closers: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (const one of closers.toReversed()) await one();
  };
  try {
    const api = await startTestApiServer();
    closers.push(() => api.close());
    const kube = connectKube({ process: "arena", version: "0", kubeconfig: api.kubeconfig });
    closers.push(() => kube.close());
    const namespace = "arena";
    await kube.create(namespaces, { metadata: { name: SYSTEM_NAMESPACE } });
    await kube.create(namespaces, { metadata: { name: namespace, labels: { [labels.inject]: OPTED_IN } } });
    await installCrds(kube);

    const [enrolmentPort = 0, metricsPort = 0] = await findFreePorts(2);
    // beside the audit log: it goes with the API server
    const logFile = join(dirname(api.kubeconfig), "controller.log");
    const controller = startController({
      name: "squall-controller-0",
      kubeconfig: api.kubeconfig,
      logFile,
      enrolmentPort,
      metricsPort,
      nodeOptions: controllerOptions,
    });
    closers.push(() => controller.end());
    const lastWords = (): string => readFileSync(logFile, "utf8").trim().split("\n").slice(-LAST_LINES).join("\n");
    say(`Creating ${count} pods.`);
    const made = await createPods(kube, namespace, count, labelsOf);
    const isCaThere = (): Promise<boolean> => kube.get(secrets, { namespace: SYSTEM_NAMESPACE, name: CA_SECRET }).then(() => true);
    await waitUntil("the controller has made its CA", isCaThere, patience);
    const { signer } = await keepTrustStore(kube, new Date(), ROTATION_RULES, new AbortController().signal);
    say(`Starting ${count} agents.`);
    const agents = await startAgents(made, signer);
    closers.push(() => agents.end());
    const tell = (what: ProbeOrder["tell"]): ProbeOrder => ({ tell: what });
    const metrics = async (): Promise<string> => (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
    await waitUntil("the controller leads", async () => (await metrics()).includes("squall_controller_leading 1"), patience);
    return {
      kube,
      namespace,
      auditLog: api.auditLog,
      agents,
      controller: {
        pid: controller.pid,
        usage: async () => (await controller.ask(tell("usage"))) as Usage,
        timers: async () => (await controller.ask(tell("timers"))) as number,
        metrics,
        lastWords,
      },
      cpuMs: () => ({
        controller: readCpuMs(controller.pid),
        agents: agents.cpuMs(),
        apiServer: api.pids.reduce((total, pid) => total + readCpuMs(pid), 0),
      }),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The controller as it ships, in a process of its own. */
export function startController({
  name,
  kubeconfig,
  logFile,
  enrolmentPort,
  metricsPort,
  nodeOptions,
}: {
  /** Of its pod. */
  readonly name: string;
  readonly kubeconfig: string;
  readonly logFile: string;
  readonly enrolmentPort: number;
  readonly metricsPort: number;
  readonly nodeOptions: readonly string[];
}): Asked {
  const probe = new URL("usage-probe.ts", import.meta.url);
  return forkAsked(new URL("../../controller/main.ts", import.meta.url), {
    execArgv: ["--expose-gc", ...shippedOptions(), ...nodeOptions, "--import", probe.href],
    env: {
      KUBECONFIG: kubeconfig,
      SQUALL_POD_NAME: name,
      SQUALL_PAUSE_IMAGE: "squall:test",
      SQUALL_POD_UID: name,
      SQUALL_POD_IPS: "127.0.0.1",
      SQUALL_ENROLMENT_PORT: String(enrolmentPort),
      SQUALL_METRICS_PORT: String(metricsPort),
      SQUALL_LOG_LEVEL: "warn",
    },
    logFile,
  });
}

/** Options of Node that the controller's manifest has. */
function shippedOptions(): readonly string[] {
  const manifest = readFileSync(join(MANIFESTS, "controller.yaml"), "utf8");
  const command = /command: \[node, (.*), \/squall\/controller\.mjs\]/.exec(manifest)?.[1];
  if (command === undefined) throw new Error("manifests/controller.yaml starts the controller otherwise than thought here.");
  return command.split(", ");
}

/** Pods that run nowhere, with sidecars in their specs. */
export async function createPods(
  kube: KubeConnection,
  namespace: string,
  count: number,
  labelsOf: ArenaOptions["labelsOf"],
): Promise<readonly SimulatedPod[]> {
  const image = { image: "none" };
  return await inParallel(count, async (index) => {
    const name = `p-${index}`;
    const { metadata } = await kube.create(pods, {
      metadata: { namespace, name, labels: { ...labelsOf(index), [labels.inject]: OPTED_IN } },
      spec: {
        nodeName: "node",
        initContainers: [{ ...image, name: SIDECAR_CONTAINER, restartPolicy: "Always" }],
        containers: [{ ...image, name: "app" }],
      },
    });
    const address = addressOf(index);
    const status = { phase: "Running", podIP: address, podIPs: [{ ip: address }] };
    await kube.patch(pods, { namespace, name }, { status }, { type: "merge", subresource: "status" });
    return { namespace, uid: metadata.uid, address };
  });
}

/** Results in the order of their numbers, from 0 on. */
export async function inParallel<T>(count: number, work: (index: number) => Promise<T>, atOnce = REQUESTS_AT_ONCE): Promise<readonly T[]> {
  const results: T[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let index = next++; index < count; index = next++) results[index] = await work(index);
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return results;
}
