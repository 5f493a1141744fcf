import { type ContainerName, RuntimeError } from "./container-runtime.ts";

/** Labels that the kubelet puts on each container, see pkg/kubelet/types/labels.go of Kubernetes. */
export const kubeletLabels = {
  podUid: "io.kubernetes.pod.uid",
  namespace: "io.kubernetes.pod.namespace",
  pod: "io.kubernetes.pod.name",
  container: "io.kubernetes.container.name",
} as const;

/** Whose a container is. */
export interface Owner extends ContainerName {
  readonly namespace: string;
  readonly pod: string;
}

// The UID of a pod from a file is no UUID.
const UID = /^[0-9A-Za-z][0-9A-Za-z-]{0,62}$/;
const DNS_LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const DNS_NAME = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;
const CONTAINER_ID = /^[0-9A-Za-z][0-9A-Za-z_.-]{0,127}$/;

/** Reads the labels of a container; undefined for one that no kubelet made. */
export function ownerOf(labels: Readonly<Record<string, string>>): Owner | undefined {
  const { podUid, namespace, pod, container } = kubeletLabels;
  const owner = {
    podUid: labels[podUid] ?? "",
    namespace: labels[namespace] ?? "",
    pod: labels[pod] ?? "",
    container: labels[container] ?? "",
  };
  const isSound = UID.test(owner.podUid) && DNS_LABEL.test(owner.namespace) && DNS_NAME.test(owner.pod) && DNS_LABEL.test(owner.container);
  return isSound ? owner : undefined;
}

export const isSame = (one: ContainerName, other: ContainerName): boolean =>
  one.podUid === other.podUid && one.container === other.container;

/** Throws RuntimeError unless these can be a UID and a name of Kubernetes. */
export function checkName({ podUid, container }: ContainerName): void {
  checkPodUid(podUid);
  if (!DNS_LABEL.test(container)) throw new RuntimeError("invalid", `${quote(container)} is no name of a container.`);
}

/** Throws RuntimeError unless this can be a UID of Kubernetes. */
export function checkPodUid(podUid: string): void {
  if (!UID.test(podUid)) throw new RuntimeError("invalid", `${quote(podUid)} is no UID of a pod.`);
}

/** The id as the runtime of this name has it. Throws RuntimeError for one of another runtime and for what is no id. */
export function parseContainerId(text: string, runtimeName: string): string {
  const at = text.indexOf("://");
  const id = at < 0 ? text : text.slice(at + "://".length);
  if (!CONTAINER_ID.test(id))
    throw new RuntimeError("invalid", `${quote(text)} is no id of a container. Write one such as containerd://ID.`);
  if (at >= 0 && text.slice(0, at) !== runtimeName)
    throw new RuntimeError("invalid", `${quote(text)} is of another runtime: this node's is ${runtimeName}.`);
  return id;
}

export const quote = (text: string): string => JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}…` : text);
