import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { planInjection } from "../../../api/injection.ts";
import type { JsonObject } from "../../../api/json.ts";
import { createAuthority, openAuthority } from "../../../certs/authority.ts";
import { ports } from "../../../common/names.ts";
import { sidecarPaths, sidecarVariables } from "../../../common/sidecar-layout.ts";
import { VERSION } from "../../../common/version.ts";
import type { Fault } from "../../../proto/gen/agent.ts";
import type { Called, ControllerOrder } from "./controller-process.ts";
import type { Ended, Idle, PodOrder, Started } from "./pod-process.ts";
import { createTwoHosts, LEFT, LEFT6, RIGHT } from "./two-hosts.ts";

/** A network and mount namespace like those of an injected pod, and beside it one with a controller that enrols its sidecar. */
export interface SidecarPod {
  /** Starts the sidecar as the injector has it started; resolves once it listens, or once it has logged something. */
  startSidecar(variables?: Readonly<Record<string, string>>, options?: { readonly upWhen: "it writes" }): Promise<Started>;
  /** Starts the daemon as its DaemonSet does, on a node whose container runtime does not answer; resolves once it listens. */
  startDaemon(): Promise<Started>;
  /** Starts any program; resolves once it has written something. */
  start(argv: readonly string[]): Promise<Started>;
  /** Runs a program in the pod's network and mount namespace to its end. */
  attempt(...argv: readonly string[]): Promise<Ended>;
  /** What a process costs now, for the number that came with its start. */
  read(started: Started): Promise<Idle>;
  /** Ends a process by SIGTERM; resolves to its exit code. */
  stop(started: Started): Promise<number | null>;
  /** A call of the controller with the complete set of faults. */
  apply(faults: readonly Fault[]): Promise<Called>;
  /** Runs a program in the pod's network namespace and gives its standard output. */
  run(program: string, ...parameters: string[]): Promise<string>;
  close(): Promise<void>;
}

const HOUR_MS = 3_600_000;

export async function createSidecarPod({
  bundles,
  faults = [],
  persistentVolumes = {},
}: {
  /** Folder with what the image has in /squall. */
  readonly bundles: string;
  /** What applies to the pod already when it enrols. */
  readonly faults?: readonly Fault[];
  /** What the controller knows of its claims, by volume. */
  readonly persistentVolumes?: Readonly<Record<string, string>>;
}): Promise<SidecarPod> {
  const hosts = await createTwoHosts();
  const pod = hosts.left.start<PodOrder, unknown>(new URL("pod-process.ts", import.meta.url));
  const controller = hosts.right.start<ControllerOrder, unknown>(new URL("controller-process.ts", import.meta.url));
  const uid = randomUUID();
  const authority = await createAuthority({ now: new Date(), lifetimeMs: HOUR_MS });
  await controller.ask({ do: "serve", authority, pod: { namespace: "shop", uid }, faults, persistentVolumes });
  await pod.ask({ do: "write", files: { [sidecarPaths.token]: "token", [sidecarPaths.ca]: openAuthority(authority).certificate } });
  let generation = 1;
  const start = async (order: Omit<Extract<PodOrder, { do: "start" }>, "do">): Promise<Started> =>
    (await pod.ask({ do: "start", ...order })) as Started;
  return {
    startSidecar: (variables = {}, options) =>
      start({ argv: commandOf(bundles), variables: { ...variablesOf(uid), ...variables }, upWhen: options?.upWhen ?? ports.sidecar }),
    startDaemon: () => {
      const argv = [process.execPath, "--max-semi-space-size=2", "--use-openssl-ca", join(bundles, "daemon.mjs")];
      return start({ argv, variables: daemonVariables, upWhen: ports.daemon });
    },
    start: (argv) => start({ argv, variables: {}, upWhen: "it writes" }),
    attempt: async (...argv) => (await pod.ask({ do: "run", argv })) as Ended,
    read: async ({ number }) => (await pod.ask({ do: "read", number })) as Idle,
    stop: async ({ number }) => ((await pod.ask({ do: "stop", number })) as { readonly code: number | null }).code,
    apply: async (wanted) => (await controller.ask({ do: "apply", address: LEFT, generation: ++generation, faults: wanted })) as Called,
    run: (program, ...parameters) => hosts.left.run(program, ...parameters),
    async close() {
      await pod.ask({ do: "end" });
      await hosts.close();
    },
  };
}

/** The command that the injector writes, for bundles in this folder. */
function commandOf(bundles: string): readonly string[] {
  const injected: JsonObject = {
    metadata: { labels: { "squall.dev/inject": "enabled" } },
    spec: { containers: [{ name: "app", image: "app" }] },
  };
  const injection = planInjection(injected, {
    image: "squall",
    version: VERSION,
    enrolmentAddress: "",
    logLevel: "info",
    isImageReady: true,
    kubernetesMinor: undefined,
    namespaceAnnotations: {},
  });
  const added = injection.do === "inject" ? injection.patch : [];
  const [sidecar] = added.flatMap((operation) =>
    operation.op === "add" && operation.path === "/spec/initContainers"
      ? (operation.value as readonly { readonly command: readonly string[] }[])
      : [],
  );
  if (sidecar === undefined) throw new Error("The injector adds no sidecar.");
  return sidecar.command.map((word) => (word === "node" ? process.execPath : word.replace(/^\/squall\//, `${bundles}/`)));
}

const daemonVariables: Readonly<Record<string, string>> = {
  SQUALL_NODE_NAME: "bench",
  SQUALL_POD_IPS: LEFT,
  SQUALL_ENROLMENT_ADDRESS: `${RIGHT}:${ports.enrolment}`,
  SQUALL_HOST_RUN: "/var/run",
  SQUALL_HOST_CGROUPS: "/sys/fs/cgroup",
};

const variablesOf = (uid: string): Readonly<Record<string, string>> => ({
  [sidecarVariables.podUid]: uid,
  [sidecarVariables.podName]: "web",
  [sidecarVariables.podNamespace]: "shop",
  [sidecarVariables.podIps]: `${LEFT},${LEFT6}`,
  [sidecarVariables.hostIps]: RIGHT,
  [sidecarVariables.probePorts]: "8080",
  [sidecarVariables.enrolmentAddress]: `${RIGHT}:${ports.enrolment}`,
  [sidecarVariables.logLevel]: "info",
});
