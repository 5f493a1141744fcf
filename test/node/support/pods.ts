import { credentials, type ServiceError } from "@grpc/grpc-js";
import { kubeletLabels } from "../../../daemon/runtime/names.ts";
import { lab } from "../../../lab/node/layout.ts";
import { NamespaceMode, type PodSandboxConfig, RuntimeServiceClient } from "../../../proto/gen/cri.ts";
import type { Containerd } from "./containerd.ts";

/** Makes pods as a kubelet does, on the node's network. */
export interface Pods {
  /** Returns the ids of its containers, in the order of the names. */
  run(pod: { readonly uid: string; readonly name: string; readonly containers: readonly string[] }): Promise<readonly string[]>;
  /** Starts a container of the pod once more. Returns its id. */
  startAgain(uid: string, container: string): Promise<string>;
  /** Ends and removes all that were made. */
  removeAll(): Promise<void>;
  close(): void;
}

export function createPods({ socket, cgroup }: Pick<Containerd, "socket" | "cgroup">): Pods {
  const client = new RuntimeServiceClient(`unix:${socket}`, credentials.createInsecure());
  const made = new Map<string, { readonly sandbox: string; readonly config: PodSandboxConfig }>();

  async function startContainer(uid: string, name: string, attempt: number): Promise<string> {
    const pod = made.get(uid);
    if (pod === undefined) throw new Error(`No pod with UID ${uid} was made.`);
    const config = {
      metadata: { name, attempt },
      image: { image: lab.pauseImage },
      command: [],
      labels: { ...pod.config.labels, [kubeletLabels.container]: name },
    };
    const request = { podSandboxId: pod.sandbox, config, sandboxConfig: pod.config };
    const { containerId } = await ask<{ readonly containerId: string }>((done) => client.createContainer(request, done));
    await ask((done) => client.startContainer({ containerId }, done));
    return containerId;
  }

  return {
    async run({ uid, name, containers }) {
      const config = {
        metadata: { name, uid, namespace: "shop", attempt: 0 },
        labels: { [kubeletLabels.podUid]: uid, [kubeletLabels.namespace]: "shop", [kubeletLabels.pod]: name },
        linux: {
          cgroupParent: `/${cgroup}/${uid}`,
          securityContext: { namespaceOptions: { network: NamespaceMode.NODE, pid: NamespaceMode.CONTAINER } },
        },
      };
      const { podSandboxId: sandbox } = await ask<{ readonly podSandboxId: string }>((done) => client.runPodSandbox({ config }, done));
      made.set(uid, { sandbox, config });
      const ids: string[] = [];
      for (const container of containers) ids.push(await startContainer(uid, container, 0));
      return ids;
    },
    startAgain: (uid, container) => startContainer(uid, container, 1),
    async removeAll() {
      for (const { sandbox: podSandboxId } of made.values()) {
        await ask((done) => client.stopPodSandbox({ podSandboxId }, done));
        await ask((done) => client.removePodSandbox({ podSandboxId }, done));
      }
      made.clear();
    },
    close: () => client.close(),
  };
}

function ask<A>(begin: (done: (error: ServiceError | null, answer: A) => void) => unknown): Promise<A> {
  return new Promise((resolve, reject) => void begin((error, answer) => (error === null ? resolve(answer) : reject(error))));
}
