import * as z from "zod";
import { trafficControl } from "../blocks/traffic-control.ts";
import type { KindDefinition } from "./definition.ts";
import { appliedStatus, perPod, source, text, texts } from "./per-pod.ts";

const MOST = 5_000;

const schema = z.strictObject({
  ipsets: z
    .array(
      z.strictObject({
        name: text().describe("Name of the set."),
        ipsetType: text().describe("Type of the set, such as hash:net."),
        source: source(),
        cidrs: texts().optional().describe("Networks, for hash:net."),
        cidrAndPorts: z
          .array(
            z.strictObject({
              cidr: text().describe("Network."),
              port: z.number().int().min(1).max(65_535).describe("Port."),
            }),
          )
          .max(MOST)
          .optional()
          .describe("Networks with ports, for hash:net,port."),
        setNames: texts().optional().describe("Names of other sets, for list:set."),
      }),
    )
    .max(MOST)
    .optional()
    .describe("Sets of addresses."),
  iptables: z
    .array(
      z.strictObject({
        name: text().describe("Name of the chain."),
        source: source(),
        direction: text().describe("input or output."),
        ipsets: texts().nullable().optional().describe("Sets whose packets are dropped; all packets where there is none."),
        device: text().optional().describe("Network device."),
      }),
    )
    .max(MOST)
    .optional()
    .describe("Chains that drop packets."),
  tcs: z
    .array(
      z.strictObject({
        type: text().describe("netem or bandwidth."),
        source: source(),
        ipset: text().optional().describe("Set whose packets are shaped; all packets where there is none."),
        device: text().optional().describe("Network device."),
        ...trafficControl,
      }),
    )
    .max(MOST)
    .optional()
    .describe("Packets that are shaped."),
});

export const podNetworkChaos: KindDefinition<typeof schema> = {
  ...perPod,
  kind: "PodNetworkChaos",
  insteadOf: "NetworkChaos",
  plural: "podnetworkchaos",
  singular: "podnetworkchaos",
  description: "PodNetworkChaos has the network faults of one pod, as Chaos Mesh keeps them.",
  schema,
  status: appliedStatus,
  prepare: (spec) => spec,
  explain: ({ ipsets = [], iptables = [], tcs = [] }) =>
    `Holds ${ipsets.length} sets, ${iptables.length} chains and ${tcs.length} shapers of the pod of its name.`,
};
