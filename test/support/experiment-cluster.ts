import assert from "node:assert/strict";
import type { ExperimentName } from "../../api/kinds/experiments.ts";
import { renderAuthor } from "../../api/author.ts";
import type { ContainerRecord } from "../../api/status.ts";
import { silentLog } from "../../common/log.ts";
import { sidecarVariables } from "../../common/sidecar-layout.ts";
import {
  annotations as names,
  DAEMON,
  FINALIZER,
  labels,
  nodeAgent,
  OPTED_IN,
  SIDECAR_CONTAINER,
  SYSTEM_NAMESPACE,
} from "../../common/names.ts";
import { type Experiments, startExperiments } from "../../controller/experiments.ts";
import type { Dial } from "../../controller/agents/link.ts";
import { World } from "../../controller/world.ts";
import { type Experiment, experimentResource } from "../../kube/experiments.ts";
import type { CreateOptions, DeleteOptions, NewObject, ObjectRef, PatchOptions, Resource } from "../../kube/kube.ts";
import { chaosPolicies, clusterHalts, halts } from "../../kube/limit-resources.ts";
import { endpointSlices, events, namespaces, nodes, type Pod, pods, services, subjectAccessReviews } from "../../kube/resources.ts";
import { type FakeAgent, FakeAgents } from "./fake-agent.ts";
import { FakeClock } from "./fake-clock.ts";
import { FakeKube } from "./fake-kube.ts";
import { FakeKubelet } from "./fake-kubelet.ts";

const NAMESPACE = "shop";
export const PAUSE_IMAGE = "squall:1.2.3";
/** Annotation of a pod without a readinessProbe. */
const NO_PROBE = "test/no-probe";
/** Who applies experiments here. */
export const AUTHOR = renderAuthor({ username: "alice", groups: [], extra: {} });

export interface PodOptions {
  readonly labels?: Readonly<Record<string, string>>;
  readonly namespace?: string;
  readonly hasSidecar?: boolean;
  readonly phase?: string;
  readonly ip?: string | undefined;
  readonly hostNetwork?: boolean;
  /** Name of the StatefulSet that owns it. */
  readonly owner?: string;
  readonly isReady?: boolean;
  /** Ids of its containers that run, by name; `app` alone by default, with an id of its own. */
  readonly containers?: Readonly<Record<string, string | undefined>>;
  readonly node?: string;
  /** Images of its containers, by name. */
  readonly images?: Readonly<Record<string, string>>;
  /** Plain init containers, by name, with their images. */
  readonly initImages?: Readonly<Record<string, string>>;
  readonly restartPolicy?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Whether it notices that the application does not answer. */
  readonly hasProbe?: boolean;
  /** TCP port of the first container that the kubelet probes. */
  readonly probePort?: number;
  /** Volumes of its spec. */
  readonly volumes?: readonly object[];
  /** Mounts of its containers, by name. */
  readonly mounts?: Readonly<Record<string, readonly object[]>>;
  /** Names of the volumes that its sidecar was told to serve. */
  readonly served?: readonly string[];
  /** Of a pod that is there already: its containers were started again. */
  readonly uid?: string;
}

const envOf = (served: readonly string[]): readonly object[] =>
  served.length === 0
    ? []
    : [{ name: sidecarVariables.volumes, value: JSON.stringify(served.map((name) => ({ name, source: "emptyDir" }))) }];

/** Told of each write of the controller, counted from 1, before and after it is made; what it throws, the caller gets. */
export type WriteHook = (moment: "before" | "after", write: number) => void;

class HookedKube extends FakeKube {
  hook: WriteHook = () => undefined;
  /** Told of each pod that the controller changed. */
  watchPods: (ref: ObjectRef) => void = () => undefined;
  /** Pods that were changed since somebody looked. */
  readonly changedPods = new Map<string, ObjectRef>();
  #count = 0;

  override create<T>(resource: Resource<T>, body: NewObject, options?: CreateOptions, signal?: AbortSignal): Promise<T> {
    // A question, which changes nothing.
    if (resource.plural === "subjectaccessreviews") return super.create(resource, body, options, signal);
    return this.#around(() => super.create(resource, body, options, signal));
  }

  override patch<T>(resource: Resource<T>, ref: ObjectRef, body: unknown, options: PatchOptions, signal?: AbortSignal): Promise<T> {
    return this.#around(async () => {
      const patched = await super.patch(resource, ref, body, options, signal);
      if (resource.plural === "pods") this.changedPods.set(`${ref.namespace}/${ref.name}`, ref);
      if (resource.plural === "pods") this.watchPods(ref);
      return patched;
    });
  }

  override delete(resource: Resource<unknown>, ref: ObjectRef, options?: DeleteOptions, signal?: AbortSignal): Promise<void> {
    return this.#around(() => super.delete(resource, ref, options, signal));
  }

  async #around<R>(write: () => Promise<R>): Promise<R> {
    this.#count += 1;
    const count = this.#count;
    this.hook("before", count);
    const result = await write();
    this.hook("after", count);
    return result;
  }
}

/**
 * The experiments of a controller over an API server and sidecars in memory, by a clock that a test moves. A leader can be
 * replaced in the middle of anything.
 */
export class ExperimentCluster {
  readonly clock = new FakeClock();
  /** How far the API server's clock is ahead of the controller's. */
  apiServerAheadMs = 0;
  readonly kube = new HookedKube({ now: () => new Date(this.clock.now().getTime() + this.apiServerAheadMs) });
  readonly agents = new FakeAgents(this.clock);
  readonly kubelet = new FakeKubelet(this.kube);
  /** How leaders reach agents. */
  dial: Dial = this.agents.dial;
  /** Targets left without a confirmation. */
  unconfirmed = 0;
  isLeading = true;
  /** Namespaces in which nobody may do anything. */
  readonly forbidden = new Set<string>();
  #world: World | undefined;
  #leader: { readonly experiments: Experiments; readonly end: AbortController } | undefined;
  #epoch = 0;
  #lastIp = 0;

  /** Opts the namespace in and starts a leader. */
  async start(): Promise<void> {
    this.addNamespace(NAMESPACE);
    this.kube.answer(subjectAccessReviews, ({ spec }) => ({
      status: { allowed: !this.forbidden.has((spec as { resourceAttributes: { namespace?: string } }).resourceAttributes.namespace ?? "") },
    }));
    await this.takeOver();
  }

  /** A new leader, with caches of its own; the one before is cut off wherever it is. */
  async takeOver(): Promise<void> {
    await this.stop();
    this.#epoch += 1;
    const world = new World({ kube: this.kube, clock: this.clock, log: silentLog, random: () => 0 });
    this.#world = world;
    world.start();
    await world.synced();
    const end = new AbortController();
    const experiments = startExperiments({
      leadership: { epoch: this.#epoch, signal: end.signal },
      kube: this.kube,
      world,
      dial: (target) => this.dial(target),
      clock: this.clock,
      log: silentLog,
      workers: 4,
      pauseImage: PAUSE_IMAGE,
      randomBelow: () => 0,
      isLeading: () => this.isLeading,
      metrics: { startVisit: () => () => undefined, countUnconfirmed: (targets) => (this.unconfirmed += targets) },
    });
    this.#leader = { experiments, end };
    await this.pass(0);
  }

  /** The leader is cut off from this moment on. */
  kill(): void {
    this.#leader?.end.abort(new Error("the leader is gone"));
  }

  /** The leader dies: what it has under way is broken off. */
  async stop(): Promise<void> {
    this.kill();
    await this.#leader?.experiments.close();
    await this.#world?.close();
    this.#leader = undefined;
    this.#world = undefined;
  }

  get experiments(): Experiments {
    return this.#leader?.experiments ?? assert.fail("nobody leads");
  }

  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms);
    // Chains of visits, calls and watches that need no time; pieces of a millisecond let timers of 0 fire.
    for (let turn = 0; turn < 8; turn += 1) {
      this.#startChanged();
      await this.clock.advance(0);
    }
  }

  #startChanged(): void {
    if (!this.kubelet.isAlive) return;
    const changed = [...this.kube.changedPods.values()];
    this.kube.changedPods.clear();
    for (const ref of changed) {
      const hasProbe =
        this.kube.peek(pods, ref) !== undefined && this.pod(ref.name, ref.namespace).metadata.annotations?.[NO_PROBE] === undefined;
      this.kubelet.visit(ref, (images) => !hasProbe || !images.includes(PAUSE_IMAGE));
    }
  }

  addNamespace(name: string, { isOptedIn = true, lateJoin = false } = {}): void {
    const found = { ...(isOptedIn && { [labels.inject]: OPTED_IN }), ...(lateJoin && { [labels.lateJoin]: OPTED_IN }) };
    this.kube.seed(namespaces, { metadata: { name, labels: found } });
  }

  /** Gives its UID. */
  addPod(name: string, options: PodOptions = {}): string {
    const {
      namespace = NAMESPACE,
      hasSidecar = true,
      phase = "Running",
      hostNetwork = false,
      owner,
      isReady = true,
      node = "node-1",
      images = {},
      initImages = {},
      restartPolicy = "Always",
      hasProbe = true,
      annotations = {},
      volumes = [],
      mounts = {},
      served = [],
    } = options;
    const containers = Object.entries(options.containers ?? { app: `containerd://${name}-1` });
    this.#lastIp += 1;
    const ip = "ip" in options ? options.ip : `10.244.0.${this.#lastIp}`;
    this.kube.remove(pods, { namespace, name });
    this.kube.seed(pods, {
      metadata: {
        name,
        namespace,
        ...(options.uid !== undefined && { uid: options.uid }),
        labels: { app: "web", [labels.inject]: OPTED_IN, ...options.labels },
        annotations: { ...annotations, ...(!hasProbe && { [NO_PROBE]: "" }) },
        ...(owner !== undefined && { ownerReferences: [{ kind: "StatefulSet", name: owner, uid: owner, controller: true }] }),
      },
      spec: {
        nodeName: node,
        hostNetwork,
        restartPolicy,
        volumes,
        containers: containers.map(([container], index) => ({
          name: container,
          image: images[container] ?? `${container}:1`,
          volumeMounts: mounts[container] ?? [],
          ...(index === 0 && options.probePort !== undefined && { livenessProbe: { httpGet: { port: options.probePort } } }),
        })),
        initContainers: [
          ...(hasSidecar ? [{ name: SIDECAR_CONTAINER, image: PAUSE_IMAGE, restartPolicy: "Always", env: envOf(served) }] : []),
          ...Object.entries(initImages).map(([container, image]) => ({ name: container, image })),
        ],
      },
      status: {
        phase,
        containerStatuses: containers.map(([container, containerID]) => ({
          name: container,
          ...(containerID !== undefined && { containerID, state: { running: {} } }),
        })),
        conditions: [{ type: "Ready", status: isReady ? "True" : "False" }],
        ...(ip !== undefined && { podIP: ip, podIPs: [{ ip }] }),
      },
    });
    const added = this.pod(name, namespace);
    this.kubelet.admit(added);
    return added.metadata.uid;
  }

  /** A daemon on a node, which is added with it. Its agent is `node/NAME`. */
  addDaemon(node = "node-1"): FakeAgent {
    this.kube.seed(nodes, { metadata: { name: node } });
    this.kube.seed(pods, {
      metadata: { name: `${DAEMON}-${node}`, namespace: SYSTEM_NAMESPACE, labels: { app: DAEMON } },
      spec: { nodeName: node, containers: [{ name: DAEMON }] },
      status: { phase: "Running", podIP: "10.244.9.9", podIPs: [{ ip: "10.244.9.9" }] },
    });
    return this.agents.of(nodeAgent(node));
  }

  pod(name: string, namespace = NAMESPACE): Pod {
    return pods.parse(this.kube.peek(pods, { namespace, name }) ?? assert.fail(`there is no pod ${name}`));
  }

  /** `app:1` of each container and init container but our sidecar, in the pod's order. */
  images(name: string, namespace = NAMESPACE): readonly (string | undefined)[] {
    const { containers, initContainers } = this.pod(name, namespace).spec;
    return [...containers, ...initContainers].flatMap((one) => (one.name === SIDECAR_CONTAINER ? [] : [one.image]));
  }

  /** Sets images of a pod and what else a merge patch says, as a user does. */
  async changePod(name: string, body: object): Promise<void> {
    await this.#asUser(() => this.kube.patch(pods, { namespace: NAMESPACE, name }, body, { type: "merge" }));
    await this.pass(0);
  }

  hasPod(name: string, namespace = NAMESPACE): boolean {
    return this.kube.peek(pods, { namespace, name }) !== undefined;
  }

  /** Puts a policy for all namespaces in place, or takes it away. */
  async setPolicy(name: string, spec: object | undefined): Promise<void> {
    this.kube.remove(chaosPolicies, { name });
    if (spec !== undefined) this.kube.seed(chaosPolicies, { metadata: { name }, spec });
    await this.pass(0);
  }

  /** Halts a namespace, or with "cluster" everything. */
  async halt(where: string, reason?: string): Promise<void> {
    const spec = reason === undefined ? {} : { reason };
    if (where === "cluster") this.kube.seed(clusterHalts, { metadata: { name: "stop" }, spec });
    else this.kube.seed(halts, { metadata: { name: "stop", namespace: where }, spec });
    await this.pass(0);
  }

  async lift(where: string): Promise<void> {
    if (where === "cluster") this.kube.remove(clusterHalts, { name: "stop" });
    else this.kube.remove(halts, { name: "stop", namespace: where });
    await this.pass(0);
  }

  addService(
    name: string,
    clusterIP: string,
    endpoints: readonly { readonly ip: string; readonly ready?: boolean; readonly serving?: boolean }[],
  ): void {
    this.kube.seed(services, { metadata: { name, namespace: NAMESPACE }, spec: { clusterIP, clusterIPs: [clusterIP] } });
    this.kube.seed(endpointSlices, {
      metadata: { name: `${name}-1`, namespace: NAMESPACE, labels: { "kubernetes.io/service-name": name } },
      addressType: "IPv4",
      endpoints: endpoints.map(({ ip, ready = true, serving }) => ({ addresses: [ip], conditions: { ready, serving } })),
      ports: [],
    });
  }

  /** Creates an experiment as a user does, with what the webhook adds, and lets the controller work. */
  async apply(kind: ExperimentName, name: string, spec: object, annotations: Readonly<Record<string, string>> = {}): Promise<Experiment> {
    // Watches of different kinds keep no order among them: what was there before has arrived by now.
    await this.pass(0);
    this.kube.seed(experimentResource(kind), {
      metadata: { name, namespace: NAMESPACE, annotations: { [names.author]: AUTHOR, ...annotations }, finalizers: [FINALIZER] },
      spec: { mode: "all", selector: { namespaces: [NAMESPACE], labelSelectors: { app: "web" } }, ...spec },
    });
    await this.pass(0);
    return this.experiment(name, kind);
  }

  /** A partition of the pods labelled app=web from the rest of the world. */
  partition(name: string, spec: object = {}, annotations: Readonly<Record<string, string>> = {}): Promise<Experiment> {
    return this.apply("NetworkChaos", name, { action: "partition", ...spec }, annotations);
  }

  async annotate(name: string, annotations: Readonly<Record<string, string | null>>, kind: ExperimentName = "NetworkChaos"): Promise<void> {
    await this.#asUser(() =>
      this.kube.patch(experimentResource(kind), { namespace: NAMESPACE, name }, { metadata: { annotations } }, { type: "merge" }),
    );
    await this.pass(0);
  }

  async delete(name: string, kind: ExperimentName = "NetworkChaos"): Promise<void> {
    await this.#asUser(() => this.kube.delete(experimentResource(kind), { namespace: NAMESPACE, name }));
    await this.pass(0);
  }

  /** Not among the controller's writes, and nothing goes wrong with it. */
  async #asUser(act: () => Promise<unknown>): Promise<void> {
    const { hook } = this.kube;
    this.kube.hook = () => undefined;
    await act();
    this.kube.requests.pop();
    this.kube.hook = hook;
  }

  find(name: string, kind: ExperimentName = "NetworkChaos"): Experiment | undefined {
    const found = this.kube.peek(experimentResource(kind), { namespace: NAMESPACE, name });
    return found === undefined ? undefined : experimentResource(kind).parse(found);
  }

  experiment(name: string, kind: ExperimentName = "NetworkChaos"): Experiment {
    return this.find(name, kind) ?? assert.fail(`there is no ${kind} ${name}`);
  }

  /** `shop/a: Injected` for each record, with its reason. */
  records(name: string, kind: ExperimentName = "NetworkChaos"): readonly string[] {
    const show = ({ selectorKey, id, phase, reason }: ContainerRecord): string =>
      `${selectorKey === "." ? "" : "target "}${id}: ${phase}${reason === undefined ? "" : ` ${reason}`}`;
    return (this.experiment(name, kind).status.experiment.containerRecords ?? []).map(show);
  }

  condition(name: string, type: string, kind: ExperimentName = "NetworkChaos") {
    const found = this.experiment(name, kind).status.conditions?.find((condition) => condition.type === type);
    return found ?? assert.fail(`${name} has no condition ${type}`);
  }

  /** What it says of its choice of targets: `False NoTargets: No pod in …`. */
  selected(name: string, kind: ExperimentName = "NetworkChaos"): string {
    const { status, reason, message } = this.condition(name, "Selected", kind);
    return `${status} ${reason}: ${message}`;
  }

  /** `Started: Experiment has started` for each event of an experiment, in order. */
  events(name: string): readonly string[] {
    return this.kube.requests.flatMap(({ verb, plural, body }) => {
      if (verb !== "create" || plural !== "events") return [];
      const { involvedObject, reason, message } = events.parse({ ...Object(body), metadata: { name: "e", uid: "u" } });
      return involvedObject.name === name ? [`${reason}: ${message}`] : [];
    });
  }

  /** How often the controller asked what an author may do. */
  get questions(): number {
    return this.kube.requests.filter(({ plural }) => plural === "subjectaccessreviews").length;
  }

  /** What the controller wrote: `patch networkchaos/status`, `create events`, … */
  get writes(): readonly string[] {
    return this.kube.requests.flatMap(({ verb, plural, options }) => {
      if (verb === "get" || verb === "list" || verb === "watch" || plural === "subjectaccessreviews") return [];
      const isStatus = typeof options === "object" && options !== null && "subresource" in options && options.subresource === "status";
      return [`${verb} ${plural}${isStatus ? "/status" : ""}`];
    });
  }
}
