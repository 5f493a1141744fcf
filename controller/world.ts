import { nodeUri, podUri } from "../certs/identity.ts";
import { annotations, DAEMON, nodeOfAgent, SYSTEM_NAMESPACE } from "../common/names.ts";
import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import { type OptIn, optInOf } from "../api/opt-in.ts";
import { workloadOf } from "../api/policy/budget.ts";
import { addressesOf, isFinished } from "../api/selection.ts";
import { type ExperimentName, experimentNames } from "../api/kinds/experiments.ts";
import { type Experiment, experimentResource } from "../kube/experiments.ts";
import type { Kube, KubeObject, Resource } from "../kube/kube.ts";
import { keyOf } from "../kube/object-key.ts";
import { Limits } from "../kube/limits.ts";
import { type AnyReflector, Reflector } from "../kube/reflector.ts";
import {
  type EndpointSlice,
  endpointSlices,
  type Namespace,
  type Node,
  namespaces,
  nodes,
  type Pod,
  pods,
  type Service,
  services,
} from "../kube/resources.ts";
import type { Whereabouts } from "./agents/sender.ts";
import { type ExperimentKey, experimentKey } from "./experiment-key.ts";
import { isFollowing } from "./phase.ts";
import { UninstallNotice } from "./uninstall/notice.ts";

/** Which experiments a change elsewhere may concern. */
type Concern = `pod ${string}` | `namespace ${string}` | "newcomers";

export interface WorldOptions {
  readonly kube: Kube;
  readonly clock: Clock;
  readonly log: Log;
  readonly random?: (() => number) | undefined;
}

/**
 * Everything of the cluster that experiments depend on, watched. Reading it asks nobody; what it says may be a moment old.
 */
export class World {
  readonly namespaces: Reflector<Namespace>;
  readonly limits: Limits;
  readonly uninstall: UninstallNotice;
  readonly #experiments: ReadonlyMap<ExperimentName, Reflector<Experiment>>;
  readonly #pods: Reflector<Pod>;
  readonly #nodes: Reflector<Node>;
  readonly #services: Reflector<Service>;
  readonly #slices: Reflector<EndpointSlice>;
  readonly #podsByUid: (uid: string) => readonly Pod[];
  readonly #daemonsOn: (node: string) => readonly Pod[];
  readonly #claimedPods: (claimed: string) => readonly Pod[];
  readonly #podsOfWorkload: (workload: string) => readonly Pod[];
  readonly #servicesIn: (namespace: string) => readonly Service[];
  readonly #slicesIn: (namespace: string) => readonly EndpointSlice[];
  readonly #concerned: readonly { readonly kind: ExperimentName; readonly lookup: (concern: string) => readonly Experiment[] }[];

  constructor({ kube, clock, log, random }: WorldOptions) {
    const reflect = <T extends KubeObject>(resource: Resource<T>): Reflector<T> => new Reflector({ kube, resource, clock, log, random });
    this.namespaces = reflect(namespaces);
    this.limits = new Limits({ kube, clock, log, random });
    this.uninstall = new UninstallNotice({ kube, clock, log, random });
    this.#pods = reflect(pods);
    this.#nodes = reflect(nodes);
    this.#services = reflect(services);
    this.#slices = reflect(endpointSlices);
    // Those that cannot be carried out yet, too: somebody must say so in their status, and let them go when they are deleted.
    this.#experiments = new Map(experimentNames.map((kind) => [kind, reflect(experimentResource(kind))]));
    const inNamespace = ({ metadata }: KubeObject): readonly string[] => [metadata.namespace ?? ""];
    this.#podsByUid = this.#pods.addIndex(({ metadata }) => [metadata.uid]);
    this.#daemonsOn = this.#pods.addIndex((pod) => (isDaemon(pod) ? [pod.spec.nodeName ?? ""] : []));
    this.#claimedPods = this.#pods.addIndex((pod) => (isClaimed(pod) ? [CLAIMED] : []));
    this.#podsOfWorkload = this.#pods.addIndex((pod) => [workloadOf(pod)]);
    this.#servicesIn = this.#services.addIndex(inNamespace);
    this.#slicesIn = this.#slices.addIndex(inNamespace);
    this.#concerned = [...this.#experiments].map(([kind, reflector]) => ({ kind, lookup: reflector.addIndex(concernsOf) }));
  }

  start(): void {
    for (const reflector of this.#all()) reflector.start();
  }

  async close(): Promise<void> {
    await Promise.all(this.#all().map((reflector) => reflector.close()));
  }

  async synced(): Promise<void> {
    await Promise.all(this.#all().map((reflector) => reflector.synced()));
  }

  get isSynced(): boolean {
    return this.#all().every((reflector) => reflector.isSynced);
  }

  /** Age of the oldest copy; undefined until all are in. */
  get silentMs(): number | undefined {
    const ages = this.#all().map((reflector) => reflector.silentMs);
    return ages.some((age) => age === undefined) ? undefined : Math.max(...ages.map((age) => age ?? 0));
  }

  /** Calls back with each experiment that changed or that a change elsewhere may concern. The returned function ends it. */
  onChange(handler: (key: ExperimentKey) => void): () => void {
    const tell = (concern: Concern): void => {
      for (const { kind, lookup } of this.#concerned) for (const { metadata } of lookup(concern)) handler(experimentKey(kind, metadata));
    };
    const tellAll = (): void => {
      for (const { key } of this.experiments()) handler(key);
    };
    const namespaceOf = (key: string): string => key.slice(0, key.indexOf("/"));
    this.uninstall.begun.addEventListener("abort", tellAll);
    const offs = [
      ...[...this.#experiments].map(([kind, reflector]) =>
        reflector.onChange((key) => handler(experimentKey(kind, { namespace: namespaceOf(key), name: key.slice(key.indexOf("/") + 1) }))),
      ),
      this.#pods.onChange((key) => {
        tell(`pod ${key}`);
        tell("newcomers");
      }),
      this.namespaces.onChange(() => tell("newcomers")),
      this.#services.onChange((key) => tell(`namespace ${namespaceOf(key)}`)),
      this.limits.onChange(tellAll),
      this.#slices.onChange((key) => tell(`namespace ${namespaceOf(key)}`)),
      () => this.uninstall.begun.removeEventListener("abort", tellAll),
    ];
    return () => {
      for (const off of offs) off();
    };
  }

  /** Calls back when a pod that pod-failure changed came or changed. The returned function ends it. */
  onClaim(handler: () => void): () => void {
    return this.#pods.onChange((key) => {
      const pod = this.#pods.get(key);
      if (pod !== undefined && isClaimed(pod)) handler();
    });
  }

  experiment({ kind, ref }: ExperimentKey): Experiment | undefined {
    return this.#experiments.get(kind)?.get(keyOf(ref));
  }

  /** Keys of all experiments, with their objects. */
  experiments(): readonly { readonly key: ExperimentKey; readonly experiment: Experiment }[] {
    return [...this.#experiments].flatMap(([kind, reflector]) =>
      reflector.list().map((experiment) => ({ key: experimentKey(kind, experiment.metadata), experiment })),
    );
  }

  pods(): readonly Pod[] {
    return this.#pods.list();
  }

  get podCount(): number {
    return this.#pods.size;
  }

  pod(uid: string): Pod | undefined {
    return this.#podsByUid(uid)[0];
  }

  /** Pods of a workload, as `workloadOf` names it. */
  podsOf(workload: string): readonly Pod[] {
    return this.#podsOfWorkload(workload);
  }

  /** Pods that pod-failure changed. */
  claimedPods(): readonly Pod[] {
    return this.#claimedPods(CLAIMED);
  }

  /** Labels of a namespace; undefined for one that is not known. */
  labelsOf(namespace: string): Readonly<Record<string, string>> | undefined {
    return this.namespaces.get(namespace)?.metadata.labels;
  }

  nodes(): readonly Node[] {
    return this.#nodes.list();
  }

  optInOf(namespace: string): OptIn {
    return optInOf(namespace, this.labelsOf(namespace));
  }

  services(inNamespaces: ReadonlySet<string>): readonly Service[] {
    return [...inNamespaces].flatMap((namespace) => this.#servicesIn(namespace));
  }

  slices(inNamespaces: ReadonlySet<string>): readonly EndpointSlice[] {
    return [...inNamespaces].flatMap((namespace) => this.#slicesIn(namespace));
  }

  /** The pod of our daemon on a node; undefined where none runs. */
  daemonOn(node: string): Pod | undefined {
    return this.#daemonsOn(node).find((pod) => addressesOf(pod).length > 0 && !isFinished(pod));
  }

  /** Where an agent is dialled: the sidecar of the pod of this UID, or the daemon of node/NAME. */
  locate(agent: string): Whereabouts {
    const node = nodeOfAgent(agent);
    if (node !== undefined && this.#nodes.get(node) === undefined) return "gone";
    const pod = node === undefined ? this.pod(agent) : this.daemonOn(node);
    if (pod === undefined) return node === undefined ? "gone" : "nowhere";
    const [address] = addressesOf(pod);
    if (address === undefined) return "nowhere";
    const { namespace = "", uid } = pod.metadata;
    return { uid: agent, uri: node === undefined ? podUri({ namespace, uid }) : nodeUri(node), address };
  }

  #all(): readonly AnyReflector[] {
    const experiments = this.#experiments.values();
    const others = [...this.limits.reflectors, ...this.uninstall.reflectors];
    return [this.namespaces, this.#pods, this.#nodes, this.#services, this.#slices, ...others, ...experiments];
  }
}

const CLAIMED = "claimed";
const isClaimed = ({ metadata }: Pod): boolean => metadata.annotations?.[annotations.podFailure] !== undefined;
const isDaemon = ({ metadata }: Pod): boolean => metadata.namespace === SYSTEM_NAMESPACE && metadata.labels?.["app"] === DAEMON;

/** Experiments that are over are left alone; the others care for their pods, for Services around them and perhaps for new pods. */
function concernsOf(experiment: Experiment): readonly Concern[] {
  const { desiredPhase, containerRecords = [] } = experiment.status.experiment;
  if (containerRecords.length === 0) return ["newcomers"];
  if (desiredPhase === "Stop" && containerRecords.every(({ phase }) => phase === "Not Injected")) return [];
  const namespacesOfRecords = new Set(containerRecords.map(({ id }) => id.slice(0, id.indexOf("/"))));
  return [
    ...new Set(containerRecords.map(({ id }): Concern => `pod ${id.split("/").slice(0, 2).join("/")}`)),
    ...[...namespacesOfRecords].map((namespace): Concern => `namespace ${namespace}`),
    ...(isFollowing(experiment) ? (["newcomers"] as const) : []),
  ];
}
