import * as z from "zod";
import { durationOrEmpty, objectName } from "../blocks/scalars.ts";
import { identifier } from "../blocks/web.ts";
import { actionNeeds } from "../rule.ts";
import type { ExperimentDefinition } from "./definition.ts";
import { unusedBy } from "./ineffective.ts";
import { cloud, describeDuration, duration, remoteCluster } from "./shared.ts";

const schema = z.strictObject({
  action: z
    .enum(["node-stop", "node-reset", "disk-loss"])
    .describe("node-stop stops a virtual machine for a while, node-reset resets it once, disk-loss takes disks from it for a while."),
  project: identifier('Write one such as "demo-1".').describe("ID of the project."),
  zone: identifier('Write one such as "europe-west4-a".').describe("Zone of the machine."),
  instance: identifier('Write the name of the machine, such as "vm-7".').describe("Name of the machine."),
  deviceNames: z.array(identifier('Write one such as "data-0".')).max(128).optional().describe("Device names of the disks, for disk-loss."),
  secretName: objectName()
    .optional()
    .describe(
      "Secret of the experiment's namespace; its key service_account has the credentials as base64 of their JSON. What surrounds the controller by default.",
    ),
  duration: durationOrEmpty().optional().describe(duration),
  remoteCluster: objectName().optional().describe(remoteCluster),
});

export const gcpChaos: ExperimentDefinition<typeof schema> = {
  ...cloud,
  kind: "GCPChaos",
  plural: "gcpchaos",
  isOneShot: ({ action }) => action === "node-reset",
  schema,
  rules: [actionNeeds("disk-loss", [{ name: "deviceNames", is: "list", write: "Write the device names of the disks, such as [data-0]." }])],
  ineffective: (spec) => unusedBy(spec, { deviceNames: ["disk-loss"] }),
  explain: (spec) => {
    const machine = `the machine ${spec.instance} in ${spec.zone} of project ${spec.project}`;
    switch (spec.action) {
      case "node-stop":
        return `Stops ${machine}${describeDuration(spec)}.`;
      case "node-reset":
        return `Resets ${machine}.`;
      case "disk-loss":
        return `Detaches ${(spec.deviceNames ?? []).join(", ")} from ${machine}${describeDuration(spec)}.`;
    }
  },
};
