import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { storyCluster } from "./cluster.ts";

/** Where persistent volumes of stories are on the node. */
const FOLDER = "/var/tmp";
const storage = { accessModes: ["ReadWriteOnce"], storageClassName: "story" };

export const folderOf = (volume: string): string => join(FOLDER, `squall-story-${volume}`);

/** Makes an empty folder on the node, and gives the persistent volume of type `local` that it is, for that claim alone. */
export async function localVolume({
  name,
  claim,
}: {
  readonly name: string;
  readonly claim: { readonly namespace: string; readonly name: string };
}): Promise<object> {
  const path = folderOf(name);
  await rm(path, { recursive: true, force: true });
  await mkdir(path, { recursive: true });
  const { kubectl } = await storyCluster();
  const hostname = "kubernetes.io/hostname";
  const node = await kubectl(["get", "nodes", "-o", `jsonpath={.items[0].metadata.labels.${hostname.replaceAll(".", "\\.")}}`]);
  return {
    apiVersion: "v1",
    kind: "PersistentVolume",
    metadata: { name },
    spec: {
      ...storage,
      capacity: { storage: "1Gi" },
      local: { path },
      claimRef: claim,
      nodeAffinity: {
        required: { nodeSelectorTerms: [{ matchExpressions: [{ key: hostname, operator: "In", values: [node.trim()] }] }] },
      },
    },
  };
}

/** What such a claim asks for. */
export const claimSpec = { ...storage, resources: { requests: { storage: "1Gi" } } };

/** After the claim is gone. */
export async function removeLocalVolume(name: string): Promise<void> {
  const { kubectl } = await storyCluster();
  await kubectl(["delete", "persistentvolume", name, "--ignore-not-found", "--timeout=30s"]);
  await rm(folderOf(name), { recursive: true, force: true });
}
