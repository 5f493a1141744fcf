/** One container, by what Kubernetes calls it. Names are unique among all of a pod's containers, init and ephemeral ones included. */
export interface ContainerName {
  readonly podUid: string;
  readonly container: string;
}

export interface PodName {
  readonly podUid: string;
  readonly namespace: string;
  readonly pod: string;
}

/** A running container of a pod of this node. */
export interface FoundContainer extends ContainerName {
  /** As the runtime has it, and cgroups are named after it: without the `containerd://` of a pod's status. */
  readonly id: string;
  readonly namespace: string;
  readonly pod: string;
  /**
   * Id of its first process in the node's own pid namespace. The process may end at any time and its id go to another one: whoever acts on it
   * makes sure first.
   */
  readonly pid: number;
  readonly startedAtMs: number;
}

/**
 * The container runtime of this node. Every call ends within seconds and may be made at any time, also while the runtime is away: then it is
 * looked for again. All throw RuntimeError, and the signal's reason when that aborts.
 */
export interface ContainerRuntime {
  /** Why the runtime does not answer now; undefined while it does. Kept up to date without calls. */
  readonly outage: string | undefined;
  /** The container of this name that runs in the pod of this UID, the newest start of it; undefined when none runs. */
  find(target: ContainerName, signal?: AbortSignal): Promise<FoundContainer | undefined>;
  /** All running containers of the node's pods. Leaves out containers that no kubelet made. */
  list(signal?: AbortSignal): Promise<readonly FoundContainer[]>;
  /** Pods of this node in which a container runs and the container of this name, which they have, has ended; those in which it never was are none. */
  listWithout(container: string, signal?: AbortSignal): Promise<readonly PodName[]>;
  /**
   * Id of a process that is in the pod's network namespace for as long as the pod exists: that of its sandbox, or of a container where sandboxes
   * have none. Undefined when the pod is not on this node. A pod with the node's network is in the node's.
   */
  sandboxPid(podUid: string, signal?: AbortSignal): Promise<number | undefined>;
  /**
   * Kills exactly this container by SIGKILL. `id` may have the runtime's name before it, as in a pod's status. "gone" when it does not run any
   * more. Throws, and kills nothing, where the id is not that of this name in this pod.
   */
  kill(target: ContainerName & { readonly id: string }, signal?: AbortSignal): Promise<"killed" | "gone">;
  close(): void;
}

export type RuntimeErrorKind =
  /** No runtime answers. */
  | "unavailable"
  /** It took too long over one call. */
  | "timeout"
  /** It has no such container. */
  | "not-found"
  /** It failed to do what was asked. */
  | "failed"
  /** What it says of a container cannot be read. */
  | "unreadable"
  /** The container is not the one that was meant. */
  | "wrong-target"
  /** The request is malformed. */
  | "invalid";

export class RuntimeError extends Error {
  override readonly name = "RuntimeError";
  readonly kind: RuntimeErrorKind;

  constructor(kind: RuntimeErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }

  /** Whether the same call can succeed later. */
  get isTransient(): boolean {
    return this.kind === "unavailable" || this.kind === "timeout" || this.kind === "failed";
  }
}

export function isRuntimeError(error: unknown, kind: RuntimeErrorKind): error is RuntimeError {
  return error instanceof RuntimeError && error.kind === kind;
}
