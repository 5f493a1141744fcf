/**
 * Volumes that the kubelet makes itself, by their kind in the pod's spec, with the folder that it has for all of the kind below a pod's `volumes`; undefined
 * where it has none. In there they have the names that the pod gives them. All other folders there are of drivers: what is in them from a claim has the
 * name of its persistent volume. See `GetPluginName` in https://github.com/kubernetes/kubernetes/tree/master/pkg/volume.
 */
export const foldersOfOwnKinds: ReadonlyMap<string, string | undefined> = new Map([
  ["emptyDir", "kubernetes.io~empty-dir"],
  ["configMap", "kubernetes.io~configmap"],
  ["secret", "kubernetes.io~secret"],
  ["projected", "kubernetes.io~projected"],
  ["downwardAPI", "kubernetes.io~downward-api"],
  ["gitRepo", "kubernetes.io~git-repo"],
  ["hostPath", "kubernetes.io~host-path"],
  ["image", undefined],
]);
