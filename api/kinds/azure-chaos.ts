import * as z from "zod";
import { durationOrEmpty, objectName } from "../blocks/scalars.ts";
import { identifier } from "../blocks/web.ts";
import { actionNeeds } from "../rule.ts";
import type { ExperimentDefinition } from "./definition.ts";
import { unusedBy } from "./ineffective.ts";
import { cloud, describeDuration, duration, remoteCluster } from "./shared.ts";

const schema = z.strictObject({
  action: z
    .enum(["vm-stop", "vm-restart", "disk-detach"])
    .describe("vm-stop stops a virtual machine for a while, vm-restart restarts it once, disk-detach takes a disk from it for a while."),
  subscriptionID: identifier("Write the ID of the subscription.").describe("ID of the subscription."),
  resourceGroupName: identifier('Write one such as "rg-demo".').describe("Resource group of the machine."),
  vmName: identifier('Write the name of the machine, such as "vm-1".').describe("Name of the machine."),
  diskName: identifier('Write one such as "data-0".', { mayBeEmpty: true }).optional().describe("Name of the data disk, for disk-detach."),
  lun: z
    .number()
    .int()
    .min(0)
    .max(2 ** 31 - 1)
    .optional()
    .describe("Logical unit number of the data disk, for disk-detach."),
  secretName: objectName()
    .optional()
    .describe(
      "Secret of the experiment's namespace with client_id, client_secret and tenant_id; what surrounds the controller by default.",
    ),
  duration: durationOrEmpty().optional().describe(duration),
  remoteCluster: objectName().optional().describe(remoteCluster),
});

export const azureChaos: ExperimentDefinition<typeof schema> = {
  ...cloud,
  kind: "AzureChaos",
  plural: "azurechaos",
  isOneShot: ({ action }) => action === "vm-restart",
  schema,
  rules: [
    actionNeeds("disk-detach", [
      { name: "diskName", is: "text", write: 'Write the name of the data disk, such as "data-0".' },
      { name: "lun", is: "number", write: "Write its logical unit number, such as 0." },
    ]),
  ],
  ineffective: (spec) => unusedBy(spec, { diskName: ["disk-detach"], lun: ["disk-detach"] }),
  explain: (spec) => {
    const machine = `the machine ${spec.vmName} of resource group ${spec.resourceGroupName}`;
    switch (spec.action) {
      case "vm-stop":
        return `Stops ${machine}${describeDuration(spec)}.`;
      case "vm-restart":
        return `Restarts ${machine}.`;
      case "disk-detach":
        return `Detaches the disk ${spec.diskName ?? ""} from ${machine}${describeDuration(spec)}.`;
    }
  },
};
