import * as z from "zod";
import { groups } from "../../common/names.ts";
import { namespaceName, objectName } from "../blocks/scalars.ts";
import { identifier } from "../blocks/web.ts";
import type { KindDefinition } from "./definition.ts";

const schema = z.strictObject({
  namespace: namespaceName().describe("Namespace of the other cluster in which Squall is installed."),
  version: identifier('Write one such as "1.0.0".').describe("Version that is installed there."),
  kubeConfig: z
    .strictObject({
      secretRef: z
        .strictObject({
          namespace: namespaceName().describe("Namespace of the Secret."),
          name: objectName().describe("Name of the Secret."),
          key: identifier('Write one such as "kubeconfig".').describe("Key of the Secret that has the kubeconfig."),
        })
        .describe("Secret with a kubeconfig for the other cluster."),
    })
    .describe("How the other cluster is reached."),
  configOverride: z.record(z.string(), z.unknown()).optional().describe("Settings of the installation there; any object."),
});

const status = z.object({
  currentVersion: z.string().describe("Version that is installed there now."),
  conditions: z
    .array(z.object({ type: z.enum(["Installed", "Ready"]), status: z.enum(["True", "False", "Unknown"]), reason: z.string().optional() }))
    .optional(),
  observedGeneration: z.number().int().optional().describe("Generation of the spec that was last looked at."),
});

export const remoteCluster: KindDefinition<typeof schema> = {
  kind: "RemoteCluster",
  group: groups.chaos,
  plural: "remoteclusters",
  singular: "remotecluster",
  shortNames: [],
  scope: "Cluster",
  columns: [{ name: "version", jsonPath: ".spec.version" }],
  description: "RemoteCluster is another cluster in which experiments can run.",
  schema,
  status,
  mayChange: true,
  madeBy: "anyone",
  prepare: (spec) => spec,
  rules: [],
  unsupported: () => [],
  ineffective: () => [],
  touches: ({ kubeConfig: { secretRef } }) => [
    { on: "secret", namespace: secretRef.namespace, name: secretRef.name, path: "spec.kubeConfig.secretRef" },
  ],
  embedded: () => [],
  explain: ({ namespace, kubeConfig: { secretRef } }) =>
    `Makes the cluster of the kubeconfig ${secretRef.namespace}/${secretRef.name} known, with an installation in namespace ${namespace}.`,
};
