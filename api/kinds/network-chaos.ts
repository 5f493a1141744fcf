import * as z from "zod";
import { problemWithExternalTarget } from "../blocks/external-target.ts";
import { portList } from "../blocks/ports.ts";
import { durationOrEmpty, objectName, textWith } from "../blocks/scalars.ts";
import { describeSelection, fillNamespaces, type SelectorBlock, selectionRules, selectorBlock, touchPods } from "../blocks/selector.ts";
import { trafficControl, withoutEmptyDefaults } from "../blocks/traffic-control.ts";
import type { FieldError } from "../field-error.ts";
import { isJsonObject, type JsonObject } from "../json.ts";
import { type Rule, rulesAt } from "../rule.ts";
import { show } from "../text.ts";
import { unusedBy } from "./ineffective.ts";
import type { ExperimentDefinition, Selection } from "./definition.ts";
import { describeDuration, duration, remoteCluster } from "./shared.ts";

const deviceName = (): z.ZodString =>
  textWith((text) =>
    text === "" || /^[A-Za-z0-9_.-]{1,15}$/.test(text)
      ? undefined
      : `${show(text)} cannot be the name of a network device. Write one such as "eth0".`,
  );

const schema = z.strictObject({
  action: z
    .enum(["netem", "delay", "loss", "duplicate", "corrupt", "partition", "bandwidth"])
    .describe("What happens to packets; netem is any mix of delay, loss, duplicate, corrupt and rate."),
  ...selectorBlock,
  direction: z
    .enum(["to", "from", "both"])
    .default("to")
    .describe("Traffic from the selected pods to the target, from the target to them, or both."),
  target: z.strictObject(selectorBlock).optional().describe("The pods on the other side. Neither target nor externalTargets: all traffic."),
  externalTargets: z
    .array(textWith(problemWithExternalTarget, { max: 300 }))
    .max(5_000)
    .optional()
    .describe("The other side outside the cluster: IP addresses, CIDRs or host names, each with :PORT if wanted."),
  device: deviceName().optional().describe("Network device in the selected pods; every one but loopback by default."),
  targetDevice: deviceName().optional().describe("Network device in the target pods; every one but loopback by default."),
  ...trafficControl,
  protocol: z.enum(["tcp", "udp", "icmp"]).optional().describe("Squall only. Packets of this protocol alone."),
  ports: portList().optional().describe('Squall only. Ports at the target\'s end, such as "443" or "8000-8010"; needs a protocol.'),
  sourcePorts: portList().optional().describe("Squall only. Ports at the selected pods' end; needs a protocol."),
  exclude: z
    .array(textWith(problemWithExternalTarget, { max: 300 }))
    .max(1_000)
    .optional()
    .describe("Squall only. Traffic to and from these is left alone; written like externalTargets."),
  affectProbes: z.boolean().optional().describe("Squall only. Whether the kubelet's probes suffer, too; false by default."),
  engine: z
    .enum(["auto", "netem", "nfqueue"])
    .optional()
    .describe("Squall only. What shapes packets: the kernel's netem, user space over NFQUEUE, or whichever can."),
  duration: durationOrEmpty().optional().describe(duration),
  remoteCluster: objectName().optional().describe(remoteCluster),
});
type Spec = z.output<typeof schema>;

const shapes = ["delay", "loss", "duplicate", "corrupt"] as const;

/** Chaos Mesh's own leniency: no direction is `to`, `eth0@if12`, as ip(8) prints it, is `eth0`, and an empty jitter or correlation is none. */
function prepare(spec: JsonObject, namespace: string): JsonObject {
  const { direction, device, target } = spec;
  return {
    ...fillNamespaces(spec, namespace),
    ...Object.fromEntries(shapes.filter((name) => name in spec).map((name) => [name, withoutEmptyDefaults(spec[name])])),
    ...(direction === "" ? { direction: "to" } : {}),
    ...(typeof device === "string" && device.includes("@") ? { device: device.slice(0, device.indexOf("@")) } : {}),
    ...(isJsonObject(target) ? { target: fillNamespaces(target, namespace) } : {}),
  };
}

/** Whether packets are shaped where they leave the other side. */
const isShapedThere = ({ action, direction }: Spec): boolean => action !== "partition" && direction !== "to";

const rules: readonly Rule<Spec>[] = [
  ...selectionRules,
  ...rulesAt<Spec, SelectorBlock>("target", ({ target }) => target, selectionRules),
  {
    title: "externalTargets can only be faulted in the direction to, or by a partition",
    cel: "self.action == 'partition' || !has(self.direction) || self.direction == 'to' || !has(self.externalTargets) || size(self.externalTargets) == 0",
    violations: (spec) =>
      isShapedThere(spec) && (spec.externalTargets ?? []).length > 0
        ? [
            {
              path: "spec.direction",
              message: `${show(spec.direction)} does not go with externalTargets: only what leaves the pods can be shaped. Write "to", or use the action partition.`,
            },
          ]
        : [],
  },
  {
    title: "the directions from and both need a target, or a partition",
    cel: "self.action == 'partition' || !has(self.direction) || self.direction == 'to' || has(self.target)",
    violations: (spec) =>
      isShapedThere(spec) && spec.target === undefined
        ? [
            {
              path: "spec.direction",
              message: `${show(spec.direction)} needs spec.target: ${spec.action} is done where packets leave, so the other side must be pods. Add a target, or write "to".`,
            },
          ]
        : [],
  },
  {
    title: "ports and sourcePorts need the protocol tcp or udp",
    cel: "!(has(self.ports) || has(self.sourcePorts)) || (has(self.protocol) && self.protocol != 'icmp')",
    violations: (spec) =>
      (["ports", "sourcePorts"] as const)
        .filter((name) => spec[name] !== undefined && spec.protocol !== "tcp" && spec.protocol !== "udp")
        .map((name) => ({
          path: `spec.${name}`,
          message: "needs a protocol that has ports. Write protocol: tcp or protocol: udp beside it.",
        })),
  },
];

/** The blocks that the action uses: all but `bandwidth`, or that alone. */
export function asWritten(spec: Spec): Pick<Spec, "delay" | "loss" | "duplicate" | "corrupt" | "rate" | "bandwidth"> {
  const { delay, loss, duplicate, corrupt, rate, bandwidth } = spec;
  return spec.action === "bandwidth" ? { bandwidth } : { delay, loss, duplicate, corrupt, rate };
}

/** Chaos Mesh accepts these and then does nothing, or fails when it is too late. */
function unsupported(spec: Spec): readonly FieldError[] {
  const found: FieldError[] = [];
  if (spec.action !== "partition" && Object.values(asWritten(spec)).every((block) => block === undefined)) {
    found.push({
      path: `spec.${spec.action === "netem" ? "delay" : spec.action}`,
      message: `is missing, so ${spec.action} would do nothing. Write what it should do, such as ${SAMPLES[spec.action]}.`,
    });
  }
  return found;
}

const SAMPLES = {
  netem: "delay: {latency: 200ms}",
  delay: "delay: {latency: 200ms}",
  loss: 'loss: {loss: "25"}',
  duplicate: 'duplicate: {duplicate: "25"}',
  corrupt: 'corrupt: {corrupt: "25"}',
  bandwidth: "bandwidth: {rate: 10mbit, limit: 100000, buffer: 10000}",
} as const;

function explain(spec: Spec): string {
  const { delay, loss, duplicate, corrupt, bandwidth, rate } = asWritten(spec);
  const effects = [
    ...(delay ? [`delays packets by ${delay.latency}${Number.parseFloat(delay.jitter) > 0 ? ` ± ${delay.jitter}` : ""}`] : []),
    ...(delay?.reorder ? [`sends ${delay.reorder.reorder} % of them at once`] : []),
    ...(loss ? [`loses ${loss.loss} % of the packets`] : []),
    ...(duplicate ? [`duplicates ${duplicate.duplicate} % of the packets`] : []),
    ...(corrupt ? [`corrupts ${corrupt.corrupt} % of the packets`] : []),
    ...(bandwidth ? [`limits the bandwidth to ${bandwidth.rate}`] : []),
    ...(rate ? [`limits the rate to ${rate.rate}`] : []),
  ];
  const what = spec.protocol === undefined ? "" : ` (${spec.protocol}${spec.ports ? ` ${spec.ports.join(", ")}` : ""} only)`;
  const effect = `${spec.action === "partition" ? "drops all packets" : effects.join(" and ") || "does nothing to packets"}${what}`;
  const others = [
    ...(spec.target ? [describeSelection(spec.target)] : []),
    ...(spec.externalTargets?.length
      ? [`${spec.externalTargets.length} external address${spec.externalTargets.length === 1 ? "" : "es"}`]
      : []),
  ];
  const other = others.join(" and ") || "everything";
  const selected = describeSelection(spec);
  const way = { to: `from ${selected} to ${other}`, from: `from ${other} to ${selected}`, both: `between ${selected} and ${other}` }[
    spec.direction
  ];
  return `${effect.charAt(0).toUpperCase()}${effect.slice(1)} ${way}${describeDuration(spec)}.`;
}

/** Packets are shaped where they leave; a partition drops them at the selected pods, and at the target where it can. */
function selections(spec: Spec): readonly Selection[] {
  const isShaped = spec.action !== "partition";
  const own: Selection = { key: ".", block: spec, need: isShaped && spec.direction === "from" ? "address" : "network" };
  if (!spec.target) return [own];
  return [own, { key: ".Target", block: spec.target, need: isShaped && spec.direction !== "to" ? "network" : "address" }];
}

export const networkChaos: ExperimentDefinition<typeof schema> = {
  kind: "NetworkChaos",
  plural: "networkchaos",
  columns: [
    { name: "action", jsonPath: ".spec.action" },
    { name: "duration", jsonPath: ".spec.duration" },
  ],
  actorOf: () => "sidecar",
  targetOf: () => "pod",
  selections,
  isOneShot: () => false,
  schema,
  prepare,
  rules,
  unsupported,
  ineffective: (spec) => {
    const netem = ["netem", "delay", "loss", "duplicate", "corrupt"] as const;
    return unusedBy(spec, { delay: netem, loss: netem, duplicate: netem, corrupt: netem, rate: netem, bandwidth: ["bandwidth"] });
  },
  explain,
  touches: (spec) => [...touchPods(spec), ...(spec.target ? touchPods(spec.target, "spec.target") : [])],
};
