import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData, status } from "@grpc/grpc-js";
import { kubeletLabels } from "../../daemon/runtime/names.ts";
import {
  type ContainerFilter,
  ContainerState,
  type PodSandboxFilter,
  PodSandboxState,
  type RuntimeServiceServer,
  RuntimeServiceService,
} from "../../proto/gen/cri.ts";

export interface FakeContainer {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly attempt: number;
  readonly info: Readonly<Record<string, string>>;
  state: ContainerState;
}

/** What a container of `shop/cart` is like where a test does not say otherwise. */
export interface ContainerWish {
  readonly podUid?: string;
  readonly container?: string;
  readonly pid?: number;
  readonly attempt?: number;
  readonly state?: keyof typeof ContainerState;
  readonly labels?: Readonly<Record<string, string>>;
  readonly info?: Readonly<Record<string, string>>;
}

type Served = "version" | "listContainers" | "containerStatus" | "stopContainer" | "listPodSandbox" | "podSandboxStatus";

/** A container runtime on a unix socket: it answers as CRI says, and loses its state at no restart. */
export class FakeRuntime {
  name = "containerd";
  apiVersion = "v1";
  /** Whether it leaves filtering to whoever asks. */
  ignoresFilters = false;
  /** Awaited before each answer. */
  hook: (method: Served) => Promise<void> | void = () => undefined;
  /** Whether StopContainer only says that it has stopped. */
  isLying = false;
  readonly containers = new Map<string, FakeContainer>();
  readonly sandboxes = new Map<string, FakeContainer>();
  readonly #socket: string;
  #server: Server | undefined;

  constructor(socket: string) {
    this.#socket = socket;
  }

  async start(): Promise<void> {
    await mkdir(dirname(this.#socket), { recursive: true });
    const server = new Server();
    server.addService(RuntimeServiceService, this.#service());
    await new Promise<void>((resolve, reject) =>
      server.bindAsync(`unix:${this.#socket}`, ServerCredentials.createInsecure(), (error) => (error === null ? resolve() : reject(error))),
    );
    this.#server = server;
  }

  /** Breaks off all calls; the socket is gone. */
  stop(): void {
    this.#server?.forceShutdown();
    this.#server = undefined;
  }

  addContainer(id: string, wish: ContainerWish = {}): FakeContainer {
    const container = fake(id, wish);
    this.containers.set(id, container);
    return container;
  }

  addSandbox(id: string, wish: ContainerWish & { readonly isReady?: boolean } = {}): void {
    const { isReady = true } = wish;
    const sandbox = fake(id, wish);
    this.sandboxes.set(id, { ...sandbox, state: isReady ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY });
  }

  #service(): Pick<RuntimeServiceServer, Served> {
    const answer =
      <Q, A>(method: Served, make: (request: Q) => A | undefined) =>
      ({ request }: ServerUnaryCall<Q, A>, reply: sendUnaryData<A>): void => {
        void Promise.resolve(this.hook(method)).then(() => {
          const made = make(request);
          if (made === undefined) reply({ code: status.NOT_FOUND, details: "no such thing" });
          else reply(null, made);
        });
      };
    return {
      version: answer("version", () => ({
        version: "0.1.0",
        runtimeName: this.name,
        runtimeVersion: "1.2.3",
        runtimeApiVersion: this.apiVersion,
      })),
      listContainers: answer("listContainers", ({ filter }) => ({
        containers: this.#pick(this.containers, filter).map(({ id, state, labels, attempt }) => ({
          id,
          podSandboxId: "",
          state: stateOf(state),
          labels: { ...labels },
          metadata: { name: "", attempt },
        })),
      })),
      containerStatus: answer("containerStatus", ({ containerId, verbose }) => {
        const found = this.containers.get(containerId);
        if (found === undefined) return undefined;
        const { id, state, labels, info } = found;
        const described = { id, state: stateOf(state), labels: { ...labels }, startedAt: "1767225600123456789", exitCode: 0 };
        return { status: { ...described, metadata: undefined }, info: verbose ? { ...info } : {} };
      }),
      stopContainer: answer("stopContainer", ({ containerId }) => {
        const found = this.containers.get(containerId);
        if (found !== undefined && !this.isLying) found.state = ContainerState.CONTAINER_EXITED;
        return found === undefined ? undefined : {};
      }),
      listPodSandbox: answer("listPodSandbox", ({ filter }) => ({
        items: this.#pick(this.sandboxes, filter).map(({ id, state, labels, attempt }) => ({
          id,
          state: state === PodSandboxState.SANDBOX_READY ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY,
          labels: { ...labels },
          metadata: { name: "", uid: "", namespace: "", attempt },
        })),
      })),
      podSandboxStatus: answer("podSandboxStatus", ({ podSandboxId }) => {
        const found = this.sandboxes.get(podSandboxId);
        return found === undefined ? undefined : { status: undefined, info: { ...found.info } };
      }),
    };
  }

  #pick(all: ReadonlyMap<string, FakeContainer>, filter: ContainerFilter | PodSandboxFilter | undefined): readonly FakeContainer[] {
    if (this.ignoresFilters || filter === undefined) return [...all.values()];
    const { id, state, labelSelector } = filter;
    return [...all.values()].filter(
      (one) =>
        one.id.startsWith(id) &&
        (state === undefined || one.state === state.state) &&
        Object.entries(labelSelector).every(([key, value]) => one.labels[key] === value),
    );
  }
}

function fake(id: string, wish: ContainerWish): FakeContainer {
  const { podUid = "uid-1", container = "app", pid = 4321, attempt = 0, state = "CONTAINER_RUNNING" } = wish;
  const labels = {
    [kubeletLabels.podUid]: podUid,
    [kubeletLabels.namespace]: "shop",
    [kubeletLabels.pod]: "cart",
    [kubeletLabels.container]: container,
  };
  return { id, labels: wish.labels ?? labels, attempt, info: wish.info ?? { info: JSON.stringify({ pid }) }, state: ContainerState[state] };
}

const stateOf = (state: ContainerState): ContainerState => state;
