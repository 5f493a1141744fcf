import { waitUntil } from "../../../lab/wait-until.ts";
import type { Kubectl } from "./kubectl.ts";
import { createPeerSession, type PeerSession } from "./peer-session.ts";
import { type Kernel, PEER_IMAGE_ENTRY, namespace as namespaceManifests, peerPod, peerService, placedOn } from "./pods.ts";
import { storyCluster } from "./cluster.ts";

interface Record {
  readonly id: string;
  readonly selectorKey: string;
  readonly phase: string;
  readonly injectedCount: number;
  readonly reason?: string;
  readonly receipts?: { readonly matched: number; readonly dropped: number; readonly delayed: number; readonly exempted: number };
  readonly interruptions?: { readonly count: number; readonly seconds: number };
}

/** The part of an experiment that stories look at. */
export interface Experiment {
  readonly metadata: { readonly uid: string };
  readonly status: {
    readonly conditions: readonly { readonly type: string; readonly status: string; readonly reason?: string; readonly message?: string }[];
    readonly experiment: { readonly desiredPhase: string; readonly containerRecords: readonly Record[] };
    readonly skipped?: readonly { readonly id: string; readonly reason: string; readonly message: string }[];
  };
}

/** How some datagrams to one host fared: errors of send, and the quickest round trip in ms, null without an answer. */
export interface Survey {
  readonly errors: readonly string[];
  readonly roundTripMs: number | null;
}

/** A namespace with some peers in it, and everything a story does with them. */
export interface Peers {
  readonly namespace: string;
  readonly kubectl: Kubectl;
  /** The pod's first address. */
  ip(peer: string): string;
  /** All of them: one of each family that the cluster has. */
  ips(peer: string): readonly string[];
  /** Those of the Service in front of it. */
  serviceIps(peer: string): Promise<readonly string[]>;
  tcp(from: string, host: string, count: number): Promise<{ readonly connects: readonly number[]; readonly failures: readonly string[] }>;
  udp(
    from: string,
    host: string,
    count: number,
    everyMs: number,
  ): Promise<{ readonly sent: number; readonly received: number; readonly errors: number; readonly roundTrips: readonly number[] }>;
  /** To each host, in that order. */
  survey(from: string, hosts: readonly string[]): Promise<readonly Survey[]>;
  upload(from: string, host: string, bytes: number): Promise<{ readonly sent: string; readonly received: string; readonly ms: number }>;
  /** Begins to probe `host` from the pod `from`, for as long as that pod lives. */
  sample(from: string, host: string, everyMs: number): Promise<void>;
  /** What sample found: when each probe left and its round trip in ms, -1 without an answer, -2 when the send failed. */
  samples(from: string, host: string): Promise<readonly (readonly [sentAt: number, roundTripMs: number])[]>;
  /** The canonical dump of the pod's kernel state. */
  dump(peer: string): Promise<string>;
  apply(...objects: readonly object[]): Promise<string>;
  /** Applies an experiment and waits until all its faults are in force. */
  applyAndWait(experiment: object): Promise<void>;
  waitFor(object: string, condition: string): Promise<void>;
  /** Waits until each pod's sidecar runs and has enrolled again, however often it crashed. */
  waitForSidecars(names: readonly string[]): Promise<void>;
  jsonpath(object: string, path: string): Promise<string>;
  experiment(name: string): Promise<Experiment>;
  deleteExperiment(name: string): Promise<void>;
  deleteExperiments(): Promise<void>;
  pause(ms: number): Promise<void>;
  remove(): Promise<void>;
}

export interface PeersOptions<N extends string> {
  readonly labelsOf?: (name: N) => { readonly [label: string]: string };
  /** Which kernel each peer is on; this machine's unless told otherwise. */
  readonly kernelOf?: (name: N) => Kernel;
  /** Whether it gets a sidecar; each does unless told otherwise. */
  readonly hasSidecar?: (name: N) => boolean;
}

/** Makes an opted-in namespace with a pod, injected unless told otherwise, and a Service for each name, all Ready. */
export async function startPeers<N extends string>(
  namespace: string,
  names: readonly N[],
  { labelsOf = () => ({}), kernelOf = () => "machine", hasSidecar = () => true }: PeersOptions<N> = {},
): Promise<Peers> {
  const { kubectl, peerImage } = await storyCluster();
  const apply = (...objects: readonly object[]): Promise<string> =>
    kubectl(["apply", "-f", "-"], { stdin: JSON.stringify({ apiVersion: "v1", kind: "List", items: objects }) });
  await apply(...namespaceManifests(namespace));
  const probe = { readinessProbe: { httpGet: { port: 8080, path: "/" }, periodSeconds: 1, failureThreshold: 2 } };
  if (names.length > 0) {
    await apply(
      ...names.flatMap((name) => [
        peerPod({
          name,
          namespace,
          image: peerImage,
          labels: labelsOf(name),
          isLabelled: hasSidecar(name),
          container: probe,
          spec: placedOn(kernelOf(name)),
        }),
        peerService({ name, namespace }),
      ]),
    );
    await kubectl(["wait", "-n", namespace, "--for=condition=Ready", "--timeout=150s", ...names.map((name) => `pod/${name}`)], {
      timeoutMs: 160_000,
    });
  }
  const path = 'jsonpath={range .items[*]}{.metadata.name}={.status.podIPs[*].ip}{"\\n"}{end}';
  const addresses = new Map(
    (await kubectl(["get", "pods", "-n", namespace, "-o", path]))
      .trim()
      .split("\n")
      .filter((line) => line !== "")
      .map((line): readonly [string, readonly string[]] => {
        const [name = "", ips = ""] = line.split("=", 2);
        return [name, ips.split(" ")];
      }),
  );
  const ips = (peer: string): readonly string[] => {
    const found = addresses.get(peer);
    if (!found) throw new Error(`no pod ${peer} with an address in ${namespace}`);
    return found;
  };

  const sessions = new Map<string, PeerSession>();
  const exec = (peer: string, ...parameters: readonly (string | number)[]): Promise<unknown> => {
    const session =
      sessions.get(peer) ??
      createPeerSession(kubectl.argv(["exec", "-i", "-n", namespace, peer, "-c", "peer", "--", ...PEER_IMAGE_ENTRY, "measure"]));
    sessions.set(peer, session);
    return session.ask(parameters.map(String));
  };
  const waitFor = async (object: string, condition: string): Promise<void> => {
    await kubectl(["wait", "-n", namespace, object, `--for=condition=${condition}`, "--timeout=40s"], { timeoutMs: 50_000 });
  };

  const peers: Peers = {
    namespace,
    kubectl,
    apply,
    waitFor,
    ips,
    ip: (peer) => ips(peer)[0] ?? "",
    serviceIps: async (peer) => (await peers.jsonpath(`service/${peer}`, "{.spec.clusterIPs[*]}")).split(" "),
    tcp: (from, host, count) => exec(from, "tcp", host, 8080, count) as ReturnType<Peers["tcp"]>,
    udp: (from, host, count, everyMs) => exec(from, "udp", host, count, everyMs) as ReturnType<Peers["udp"]>,
    survey: (from, hosts) => exec(from, "survey", ...hosts) as ReturnType<Peers["survey"]>,
    upload: (from, host, bytes) => exec(from, "upload", host, bytes) as ReturnType<Peers["upload"]>,
    sample: async (from, host, everyMs) => void (await exec(from, "sample", host, everyMs)),
    samples: (from, host) => exec(from, "samples", host) as ReturnType<Peers["samples"]>,
    dump: (peer) => kubectl(["exec", "-n", namespace, peer, "-c", "squall-sidecar", "--", "node", "/squall/sidecar.mjs", "dump"]),
    async applyAndWait(experiment) {
      await apply(experiment);
      const { kind, metadata } = experiment as { readonly kind: string; readonly metadata: { readonly name: string } };
      await waitFor(`${kind.toLowerCase()}/${metadata.name}`, "AllInjected");
    },
    async waitForSidecars(names) {
      for (const name of names) {
        const test = ["exec", "-n", namespace, name, "-c", "squall-sidecar", "--", "test", "-e", "/var/lib/squall/ready"];
        const runs = async (): Promise<boolean | string> => {
          const { code, stderr } = await kubectl.attempt(test);
          return code === 0 || stderr;
        };
        await waitUntil(`the sidecar of ${name} runs`, runs, { timeoutMs: 60_000 });
      }
    },
    jsonpath: (object, path) => kubectl(["get", "-n", namespace, object, "-o", `jsonpath=${path}`]),
    experiment: async (name) => JSON.parse(await kubectl(["get", "networkchaos", name, "-n", namespace, "-o", "json"])) as Experiment,
    deleteExperiment: async (name) => void (await kubectl(["delete", "networkchaos", name, "-n", namespace, "--timeout=30s"])),
    deleteExperiments: async () => void (await kubectl(["delete", "networkchaos,podchaos", "--all", "-n", namespace, "--timeout=30s"])),
    pause: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    async remove() {
      for (const session of sessions.values()) session.close();
      await kubectl(["delete", "namespace", namespace, "--wait=false"]);
    },
  };
  return peers;
}
