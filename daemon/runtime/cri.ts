import {
  type Container,
  ContainerState,
  type ContainerStatusResponse,
  type ListContainersResponse,
  type ListPodSandboxResponse,
  type PodSandbox,
  PodSandboxState,
  type PodSandboxStatusResponse,
  type StopContainerResponse,
} from "../../proto/gen/cri.ts";
import type { RuntimeConnection } from "./connection.ts";
import { isRuntimeError } from "./container-runtime.ts";
import type { Begin } from "./cri-client.ts";

export type Labels = Readonly<Record<string, string>>;

/** The calls of CRI that we need. What a runtime's filter lets through is looked at again: it is not taken on trust. */
export interface Cri {
  listRunning(labels: Labels): Promise<readonly Container[]>;
  /** In any state. */
  listContainers(): Promise<readonly Container[]>;
  /** In any state; undefined for none. */
  findContainer(id: string): Promise<Container | undefined>;
  /** With what the runtime tells beside; undefined when it was removed. */
  readStatus(id: string): Promise<ContainerStatusResponse | undefined>;
  /** Kills it and returns once it has ended, also where it had already. */
  stopContainer(id: string): Promise<void>;
  listReadySandboxes(labels: Labels): Promise<readonly PodSandbox[]>;
  readSandboxStatus(id: string): Promise<PodSandboxStatusResponse>;
}

/** The kernel may take its time over a process with much memory, or one that is stuck in a device. */
const STOP_TIMEOUT_MS = 15_000;

/** CRI over a connection. The signal ends all its calls. */
export function createCri(connection: RuntimeConnection, signal: AbortSignal | undefined): Cri {
  const call = <A>(what: string, begin: Begin<A>, timeoutMs?: number): Promise<A> => connection.call(what, begin, { timeoutMs, signal });
  return {
    async listRunning(labelSelector) {
      const filter = { id: "", podSandboxId: "", state: { state: ContainerState.CONTAINER_RUNNING }, labelSelector };
      const { containers } = await call<ListContainersResponse>("ListContainers", (cri, done) => cri.listContainers({ filter }, done));
      return containers.filter((one) => isRunning(one) && hasLabels(one, labelSelector));
    },

    async listContainers() {
      const filter = { id: "", podSandboxId: "", state: undefined, labelSelector: {} };
      return (await call<ListContainersResponse>("ListContainers", (cri, done) => cri.listContainers({ filter }, done))).containers;
    },

    async findContainer(id) {
      const filter = { id, podSandboxId: "", state: undefined, labelSelector: {} };
      const { containers } = await call<ListContainersResponse>("ListContainers", (cri, done) => cri.listContainers({ filter }, done));
      // Runtimes take the beginning of an id for the whole.
      return containers.find((one) => one.id === id);
    },

    async readStatus(containerId) {
      const request = { containerId, verbose: true };
      try {
        return await call<ContainerStatusResponse>("ContainerStatus", (cri, done) => cri.containerStatus(request, done));
      } catch (error) {
        if (isRuntimeError(error, "not-found")) return undefined;
        throw error;
      }
    },

    async stopContainer(containerId) {
      const request = { containerId, timeout: 0 };
      try {
        await call<StopContainerResponse>("StopContainer", (cri, done) => cri.stopContainer(request, done), STOP_TIMEOUT_MS);
      } catch (error) {
        if (!isRuntimeError(error, "not-found")) throw error; // it has ended and was removed
      }
    },

    async listReadySandboxes(labelSelector) {
      const filter = { id: "", state: { state: PodSandboxState.SANDBOX_READY }, labelSelector };
      const { items } = await call<ListPodSandboxResponse>("ListPodSandbox", (cri, done) => cri.listPodSandbox({ filter }, done));
      return items.filter((one) => one.state === PodSandboxState.SANDBOX_READY && hasLabels(one, labelSelector));
    },

    readSandboxStatus(podSandboxId) {
      const request = { podSandboxId, verbose: true };
      return call<PodSandboxStatusResponse>("PodSandboxStatus", (cri, done) => cri.podSandboxStatus(request, done));
    },
  };
}

export const isRunning = ({ state }: { readonly state: ContainerState }): boolean => state === ContainerState.CONTAINER_RUNNING;

const hasLabels = ({ labels }: { readonly labels: Labels }, wanted: Labels): boolean =>
  Object.entries(wanted).every(([key, value]) => labels[key] === value);
