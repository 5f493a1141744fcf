import { ROOT_HANDLE } from "../../common/names.ts";
import type { Shape } from "../../proto/gen/faults.ts";
import type { Step } from "../plan.ts";
import type { PacketClass } from "./classes.ts";
import type { PodFacts } from "./facts.ts";
import { handlesOf, minorsOf } from "./names.ts";

/** No limit, for htb, which must have one. */
const UNLIMITED = "rate 32gbit burst 4mb cburst 4mb quantum 200000";
/** A link is taken to be this fast where nothing says how many packets can come; see queueLimitPackets. */
const ASSUMED_BITS_PER_SECOND = 1_000_000_000;
const PACKET_BITS = 1500 * 8;
const FEWEST_PACKETS = 10_000;
/** At some 2 kB each, 200 MB. */
const MOST_PACKETS = 100_000;
/** A packet of the wire's usual size with its Ethernet header: a smaller bucket would never let it go. */
const FRAME_BYTES = 1514;

/**
 * How many packets may wait: twice of what comes in during the longest delay, between 10,000 and 100,000. netem's own default of 1,000 loses
 * what a delay of 100 ms holds of 120 Mbit/s, silently. Behind a rate, 1,000 packets may wait as they do there, for they stand in a queue.
 */
export function queueLimitPackets({ latencyUs, jitterUs, rateBitsPerSecond }: Shape): number {
  const bitsPerSecond = rateBitsPerSecond > 0 ? rateBitsPerSecond : ASSUMED_BITS_PER_SECOND;
  const delayed = Math.ceil((2 * (bitsPerSecond / PACKET_BITS) * (latencyUs + jitterUs)) / 1e6);
  return Math.min(MOST_PACKETS, rateBitsPerSecond > 0 ? 1000 + delayed : Math.max(FEWEST_PACKETS, delayed));
}

/** Minor numbers of classes below the root, by key of the class, as iptables' CLASSIFY names them: hexadecimal. */
export function classIdsOf(classes: readonly PacketClass[]): ReadonlyMap<string, string> {
  return new Map([...minorsOf(classes.map(({ key }) => key))].map(([key, minor]) => [key, `${ROOT_HANDLE}:${minor.toString(16)}`]));
}

/** Names of the disciplines of a class, one for each rule. */
const linksOf = ({ key, rules }: PacketClass): readonly string[] => rules.map((rule) => `${key} @ ${rule.key}`);

/**
 * The tree of queueing disciplines of each device: a root that passes what nobody classified, and for each class a chain with one discipline
 * for each rule. The root is added, never replaced, so that a device that somebody else shapes is refused. Adding to the tree leaves what is
 * in it alone. See tc-htb(8), tc-netem(8), tc-tbf(8).
 */
export function planTree(classes: readonly PacketClass[], facts: PodFacts): readonly Step[] {
  if (classes.length === 0) return [];
  const ids = classIdsOf(classes);
  const handles = handlesOf(classes.flatMap(linksOf));
  const used = facts.devices.flatMap((device) => {
    const own = classes.filter(({ rules }) => rules.every((rule) => rule.device === "" || rule.device === device));
    return own.length === 0 ? [] : [{ device, own }];
  });
  const command: string[] = [];
  const undo: string[] = [];
  for (const { device, own } of used) {
    command.push(`qdisc add dev ${device} root handle ${ROOT_HANDLE}: htb default 0`);
    for (const packetClass of own) {
      const id = ids.get(packetClass.key) ?? "";
      command.push(`class add dev ${device} parent ${ROOT_HANDLE}: classid ${id} htb ${UNLIMITED}`);
      let parent = id;
      for (const [index, link] of linksOf(packetClass).entries()) {
        const rule = packetClass.rules[index];
        const handle = (handles.get(link) ?? 0).toString(16);
        if (rule !== undefined) command.push(`qdisc add dev ${device} parent ${parent} handle ${handle}: ${describeShape(rule.shape)}`);
        parent = `${handle}:1`;
      }
      undo.push(`qdisc del dev ${device} parent ${id}`, `class del dev ${device} classid ${id}`);
    }
  }
  undo.push(...used.map(({ device }) => `qdisc del dev ${device} root handle ${ROOT_HANDLE}:`));
  const batch = (lines: readonly string[]): { readonly argv: readonly ["tc", "-batch", "-"]; readonly stdin: string } => ({
    argv: ["tc", "-batch", "-"],
    stdin: `${lines.join("\n")}\n`,
  });
  return [{ do: "run", id: "tree", command: batch(command), undo: batch(undo), isAdditive: true }];
}

/** Which fault each queueing discipline belongs to, by its handle. */
export function faultsOfHandles(classes: readonly PacketClass[]): ReadonlyMap<string, string> {
  const links = classes.flatMap((packetClass) =>
    linksOf(packetClass).map((link, index) => [link, packetClass.rules[index]?.faultId ?? ""] as const),
  );
  const handles = handlesOf(links.map(([link]) => link));
  return new Map(links.map(([link, faultId]) => [`${(handles.get(link) ?? 0).toString(16)}:`, faultId]));
}

/** One queueing discipline with its parameters. */
function describeShape(shape: Shape): string {
  const { bandwidth, reorder } = shape;
  if (bandwidth) {
    const peak =
      bandwidth.peakRateBitsPerSecond > 0 && bandwidth.minBurstBytes > 0
        ? ` peakrate ${bandwidth.peakRateBitsPerSecond}bit mtu ${Math.max(bandwidth.minBurstBytes, FRAME_BYTES)}`
        : "";
    return `tbf rate ${bandwidth.rateBitsPerSecond}bit burst ${Math.max(bandwidth.bufferBytes, FRAME_BYTES)} limit ${bandwidth.limitBytes}${peak}`;
  }
  const chance = (name: string, percent: number, correlation: number): readonly string[] =>
    percent > 0 ? [`${name} ${percent}%${correlation > 0 ? ` ${correlation}%` : ""}`] : [];
  const hasDelay = shape.latencyUs > 0 || shape.jitterUs > 0;
  const jitter = shape.jitterUs > 0 ? ` ${shape.jitterUs}us${shape.latencyCorrelation > 0 ? ` ${shape.latencyCorrelation}%` : ""}` : "";
  return [
    `netem limit ${queueLimitPackets(shape)}`,
    ...(hasDelay ? [`delay ${shape.latencyUs}us${jitter}`] : []),
    ...chance("loss", shape.lossPercent, shape.lossCorrelation),
    ...chance("duplicate", shape.duplicatePercent, shape.duplicateCorrelation),
    ...chance("corrupt", shape.corruptPercent, shape.corruptCorrelation),
    ...(reorder && hasDelay && reorder.percent > 0
      ? [...chance("reorder", reorder.percent, reorder.correlation), ...(reorder.gap > 1 ? [`gap ${reorder.gap}`] : [])]
      : []),
    ...(shape.rateBitsPerSecond > 0 ? [`rate ${shape.rateBitsPerSecond}bit`] : []),
  ].join(" ");
}
