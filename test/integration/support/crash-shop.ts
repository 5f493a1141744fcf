import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "../../../common/clock.ts";
import { FINALIZER, labels, OPTED_IN, SIDECAR_CONTAINER } from "../../../common/names.ts";
import { connectKube, type KubeConnection } from "../../../kube/client.ts";
import { isKubeError } from "../../../kube/errors.ts";
import { type Experiment, experimentResource } from "../../../kube/experiments.ts";
import { namespaces, pods } from "../../../kube/resources.ts";
import { type Patience, waitUntil } from "../../../lab/wait-until.ts";
import { startTestApiServer } from "../../support/api-server.ts";
import { authoredByAdmin } from "../../support/authors.ts";
import { installCrds } from "../../support/crds.ts";
import { FakeAgents } from "../../support/fake-agent.ts";
import { type ApiProxy, startApiProxy } from "./api-proxy.ts";
import { type Leader, startLeader } from "./leader.ts";

const SHOP = "crash-shop";
/** Watches that broke several times in a row come back after 10 s. */
export const patience: Patience = { timeoutMs: 60_000, everyMs: 20 };
const networkChaos = experimentResource("NetworkChaos");
const image = { image: "none" };

/** A namespace at a real API server with two pods, sidecars in memory, and leaders that reach the API server through a proxy. */
export class CrashShop {
  readonly agents = new FakeAgents(systemClock);
  readonly proxy: ApiProxy;
  readonly #direct: KubeConnection;
  readonly #closers: (() => Promise<void>)[];
  /** UIDs of the pods by name. */
  readonly #pods = new Map<string, string>();
  #leader: Leader | undefined;
  #epoch = 0;
  #lastIp = 0;
  /** Targets that a leader left without a confirmation. */
  unconfirmed = 0;

  private constructor(proxy: ApiProxy, direct: KubeConnection, closers: (() => Promise<void>)[]) {
    this.proxy = proxy;
    this.#direct = direct;
    this.#closers = closers;
  }

  static async open(): Promise<CrashShop> {
    const api = await startTestApiServer();
    const proxy = await startApiProxy(api);
    const direct = connectKube({ process: "test", version: "0", kubeconfig: api.kubeconfig });
    const shop = new CrashShop(proxy, direct, [() => api.close(), () => proxy.close(), () => direct.close()]);
    await installCrds(direct);
    await direct.create(namespaces, { metadata: { name: SHOP, labels: { [labels.inject]: OPTED_IN } } });
    for (const name of ["a", "b"]) await shop.#addPod(name);
    return shop;
  }

  async close(): Promise<void> {
    await this.#stop(this.#leader);
    for (const close of this.#closers.toReversed()) await close();
  }

  async startLeading(): Promise<void> {
    const kube = connectKube({ process: "controller", version: "0", kubeconfig: this.proxy.kubeconfig, requestTimeoutMs: 5_000 });
    this.#leader = await startLeader({
      kube,
      agents: this.agents,
      epoch: (this.#epoch += 1),
      randomBelow: (bound) => randomInt(bound),
      countUnconfirmed: (targets) => (this.unconfirmed += targets),
    });
  }

  /** The leader does nothing more from this moment on; resolves once another leads. */
  replaceLeader(): Promise<void> {
    const old = this.#leader;
    old?.end();
    return this.#stop(old).then(() => this.startLeading());
  }

  /** Another leads while the old one still believes that it does, for two seconds. */
  async doubleLeader(): Promise<void> {
    const old = this.#leader;
    await this.startLeading();
    await sleep(2_000);
    await this.#stop(old);
  }

  async #stop(old: Leader | undefined): Promise<void> {
    if (old === undefined) return;
    if (old === this.#leader) this.#leader = undefined;
    await old.close();
  }

  /** A partition of one of the two pods. */
  async create(name: string): Promise<void> {
    await this.#direct.create(networkChaos, {
      metadata: { namespace: SHOP, name, finalizers: [FINALIZER], annotations: { ...authoredByAdmin, "squall.dev/lease": "10s" } },
      spec: { action: "partition", mode: "one", selector: { namespaces: [SHOP], labelSelectors: { app: "web" } } },
    });
  }

  delete(name: string): Promise<void> {
    return this.#direct.delete(networkChaos, { namespace: SHOP, name });
  }

  async find(name: string): Promise<Experiment | undefined> {
    try {
      return await this.#direct.get(networkChaos, { namespace: SHOP, name });
    } catch (error) {
      if (isKubeError(error, "not-found")) return undefined;
      throw error;
    }
  }

  /** Takes the finalizer away by force, and makes another experiment of the same name. */
  async recreate(name: string): Promise<void> {
    const gone = (error: unknown): void => {
      if (!isKubeError(error, "not-found")) throw error;
    };
    const ref = { namespace: SHOP, name };
    // deleted first: a leader puts its finalizer back on what lives
    await this.delete(name).catch(gone);
    await this.#direct.patch(networkChaos, ref, { metadata: { finalizers: null } }, { type: "merge" }).catch(gone);
    await this.create(name);
  }

  /** Other pods take the names of those that are there; nobody can reach the old ones any more. */
  async replacePods(): Promise<void> {
    for (const [name, uid] of [...this.#pods]) {
      this.agents.of(uid).isReachable = false;
      await this.#direct.delete(pods, { namespace: SHOP, name }, { gracePeriodSeconds: 0 });
      await this.#addPod(name);
    }
  }

  async #addPod(name: string): Promise<void> {
    const made = await this.#direct.create(pods, {
      metadata: { namespace: SHOP, name, labels: { app: "web", [labels.inject]: OPTED_IN } },
      spec: {
        nodeName: "node",
        initContainers: [{ ...image, name: SIDECAR_CONTAINER, restartPolicy: "Always" }],
        containers: [{ ...image, name: "app" }],
      },
    });
    this.#pods.set(name, made.metadata.uid);
    const ip = `10.244.0.${(this.#lastIp += 1)}`;
    const status = { phase: "Running", podIP: ip, podIPs: [{ ip }] };
    await this.#direct.patch(pods, { namespace: SHOP, name }, { status }, { type: "merge", subresource: "status" });
  }

  /** Ids of the faults in force on pods that are there. */
  get inForce(): readonly string[] {
    return [...this.#pods.values()].flatMap((uid) => this.agents.of(uid).inForce);
  }

  /** Waits until the only record of an experiment says what is so: its fault is in force, or its pod is gone. */
  async untilTrue(name: string): Promise<void> {
    const isTrue = async (): Promise<boolean | string> => {
      const found = await this.find(name);
      const [record, ...others] = found?.status.experiment.containerRecords ?? [];
      const isThere = [...this.#pods.values()].includes(record?.targetUID ?? "");
      const expected = isThere ? [`${found?.metadata.uid}/.`] : [];
      const phase = isThere ? "Injected" : "Not Injected";
      return (
        (record?.phase === phase && others.length === 0 && this.inForce.join() === expected.join()) ||
        JSON.stringify({ uid: found?.metadata.uid, status: found?.status, inForce: this.inForce, pods: [...this.#pods] })
      );
    };
    await waitUntil(`the record of ${name} is true`, isTrue, patience);
  }
}
