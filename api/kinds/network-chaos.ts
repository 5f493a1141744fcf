import { z } from "zod";
import { parseExternalTarget, problemWithExternalTarget } from "../blocks/external-target.ts";
import { durationOrEmpty, objectName, textWith } from "../blocks/scalars.ts";
import { checkValue, describeSelection, fillNamespaces, selectorBlock, valueRules } from "../blocks/selector.ts";
import { trafficControl } from "../blocks/traffic-control.ts";
import type { FieldError } from "../field-error.ts";
import { isJsonObject, type JsonObject } from "../json.ts";
import { show } from "../text.ts";
import type { KindDefinition } from "./definition.ts";
import { describeDuration, duration, remoteCluster, unsupportedEverywhere } from "./shared.ts";

const deviceName = (): z.ZodString =>
  textWith((text) =>
    text === "" || /^[A-Za-z0-9_.-]{1,15}$/.test(text)
      ? undefined
      : `${show(text)} cannot be the name of a network device. Write one such as "eth0".`,
  );

const schema = z
  .strictObject({
    action: z
      .enum(["netem", "delay", "loss", "duplicate", "corrupt", "partition", "bandwidth"])
      .describe("What happens to packets; netem is any mix of delay, loss, duplicate, corrupt and rate."),
    ...selectorBlock,
    direction: z
      .enum(["to", "from", "both"])
      .default("to")
      .describe("Traffic from the selected pods to the target, from the target to them, or both."),
    target: z
      .strictObject(selectorBlock)
      .meta({ "x-kubernetes-validations": [...valueRules] })
      .optional()
      .describe("The pods on the other side. Neither target nor externalTargets: all traffic."),
    externalTargets: z
      .array(textWith(problemWithExternalTarget, { max: 300 }))
      .max(5_000)
      .optional()
      .describe("The other side outside the cluster: IP addresses, CIDRs or host names, each with :PORT if wanted."),
    device: deviceName().optional().describe("Network device in the selected pods; eth0 by default."),
    targetDevice: deviceName().optional().describe("Network device in the target pods; eth0 by default."),
    ...trafficControl,
    duration: durationOrEmpty().optional().describe(duration),
    remoteCluster: objectName().optional().describe(remoteCluster),
  })
  .meta({
    "x-kubernetes-validations": [
      ...valueRules,
      {
        rule: "self.action == 'partition' || !has(self.direction) || self.direction == 'to' || !has(self.externalTargets) || size(self.externalTargets) == 0",
        message: "externalTargets can only be faulted in the direction to, or by a partition",
      },
      {
        rule: "self.action == 'partition' || !has(self.direction) || self.direction == 'to' || has(self.target)",
        message: "the directions from and both need a target, or a partition",
      },
    ],
  });
type Spec = z.output<typeof schema>;

/** Chaos Mesh's own leniency: no direction is `to`, and `eth0@if12`, as ip(8) prints it, is `eth0`. */
function prepare(spec: JsonObject, namespace: string): JsonObject {
  const { direction, device, target } = spec;
  return {
    ...fillNamespaces(spec, namespace),
    ...(direction === "" ? { direction: "to" } : {}),
    ...(typeof device === "string" && device.includes("@") ? { device: device.slice(0, device.indexOf("@")) } : {}),
    ...(isJsonObject(target) ? { target: fillNamespaces(target, namespace) } : {}),
  };
}

function check(spec: Spec): readonly FieldError[] {
  const errors = [...checkValue(spec, "spec"), ...(spec.target ? checkValue(spec.target, "spec.target") : [])];
  if (spec.action === "partition" || spec.direction === "to") return errors;
  if ((spec.externalTargets ?? []).length > 0) {
    errors.push({
      path: "spec.direction",
      message: `${show(spec.direction)} does not go with externalTargets: only what leaves the pods can be shaped. Write "to", or use the action partition.`,
    });
  }
  if (!spec.target) {
    errors.push({
      path: "spec.direction",
      message: `${show(spec.direction)} needs spec.target: ${spec.action} is done where packets leave, so the other side must be pods. Add a target, or write "to".`,
    });
  }
  return errors;
}

/** What the packet faults of this version can do; everything else is named. */
function unsupported(spec: Spec): readonly FieldError[] {
  const found: FieldError[] = [];
  const refuse = (path: string, what: string): void =>
    void found.push({ path: `spec.${path}`, message: `${what} cannot be carried out yet.` });
  if (!["delay", "loss", "netem", "partition"].includes(spec.action)) {
    found.push({
      path: "spec.action",
      message: `${spec.action} cannot be carried out yet. Supported: delay, loss, netem with delay and loss, partition.`,
    });
  }
  const isShaped = spec.action !== "partition";
  if (isShaped && !spec.delay && !spec.loss && !(spec.duplicate || spec.corrupt || spec.bandwidth || spec.rate)) {
    found.push({
      path: `spec.${spec.action === "netem" ? "delay" : spec.action}`,
      message: `is missing, so ${spec.action} would do nothing. Write what it should do, such as delay: {latency: 200ms}.`,
    });
  }
  for (const name of ["duplicate", "corrupt", "bandwidth", "rate"] as const) if (spec[name] && isShaped) refuse(name, `The block ${name}`);
  if (isShaped && spec.delay?.reorder) refuse("delay.reorder", "Reordering");
  if (isShaped && Number(spec.delay?.correlation ?? 0) !== 0) refuse("delay.correlation", "Correlation");
  if (isShaped && Number(spec.loss?.correlation ?? 0) !== 0) refuse("loss.correlation", "Correlation");
  for (const name of ["device", "targetDevice"] as const) {
    if (spec[name] && spec[name] !== "eth0") refuse(name, `A device other than eth0 (${show(spec[name])})`);
  }
  for (const [index, text] of (spec.externalTargets ?? []).entries()) {
    const target = parseExternalTarget(text);
    const path = `externalTargets[${index}]`;
    if (target?.port !== undefined) refuse(path, `A port (${show(text)})`);
    else if (target?.is === "name") refuse(path, `A host name (${show(text)})`);
    else if (target?.is === "network" && target.family === "ipv6") refuse(path, `An IPv6 address (${show(text)})`);
  }
  return [...found, ...unsupportedEverywhere(spec)];
}

function explain(spec: Spec): string {
  const effects = [
    ...(spec.delay
      ? [`delays packets by ${spec.delay.latency}${Number.parseFloat(spec.delay.jitter) > 0 ? ` ± ${spec.delay.jitter}` : ""}`]
      : []),
    ...(spec.loss ? [`loses ${spec.loss.loss} % of the packets`] : []),
    ...(spec.duplicate ? [`duplicates ${spec.duplicate.duplicate} % of the packets`] : []),
    ...(spec.corrupt ? [`corrupts ${spec.corrupt.corrupt} % of the packets`] : []),
    ...(spec.bandwidth ? [`limits the bandwidth to ${spec.bandwidth.rate}`] : []),
    ...(spec.rate ? [`limits the rate to ${spec.rate.rate}`] : []),
  ];
  const effect = spec.action === "partition" ? "drops all packets" : effects.join(" and ") || "does nothing to packets";
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

export const networkChaos: KindDefinition<typeof schema> = {
  kind: "NetworkChaos",
  plural: "networkchaos",
  columns: [
    { name: "action", jsonPath: ".spec.action" },
    { name: "duration", jsonPath: ".spec.duration" },
  ],
  actorOf: () => "sidecar",
  targetOf: () => "pod",
  isOneShot: () => false,
  schema,
  prepare,
  check,
  unsupported,
  explain,
};
