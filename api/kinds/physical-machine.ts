import * as z from "zod";
import { groups } from "../../common/names.ts";
import { httpUrl, withScheme } from "../blocks/web.ts";
import type { KindDefinition } from "./definition.ts";

const schema = z.strictObject({
  address: httpUrl("https://10.0.0.7:31768").describe(
    "URL of the agent on the machine, such as https://10.0.0.7:31768; http:// is put before one without a scheme.",
  ),
});

export const physicalMachine: KindDefinition<typeof schema> = {
  kind: "PhysicalMachine",
  group: groups.chaos,
  plural: "physicalmachines",
  singular: "physicalmachine",
  shortNames: [],
  scope: "Namespaced",
  columns: [{ name: "address", jsonPath: ".spec.address" }],
  description: "PhysicalMachine is a machine outside the cluster that PhysicalMachineChaos can select.",
  schema,
  status: undefined,
  mayChange: false,
  madeBy: "anyone",
  prepare: (spec) => ("address" in spec ? { ...spec, address: withScheme(spec["address"]) } : spec),
  rules: [],
  unsupported: () => [],
  ineffective: () => [],
  touches: () => [],
  embedded: () => [],
  explain: ({ address }) => `Makes the machine whose agent is at ${address} known.`,
};
