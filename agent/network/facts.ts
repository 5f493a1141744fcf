import * as z from "zod/mini";
import { KERNEL_PREFIX, ROOT_HANDLE } from "../../common/names.ts";
import type { Passport } from "../../proto/gen/agent.ts";
import type { Command } from "../plan.ts";
import type { Programs } from "../programs.ts";
import { type Family, families } from "./families.ts";

/** What the planner must know of the pod that it plans for. */
export interface PodFacts {
  /** Which of the two back ends of iptables this kernel serves. */
  readonly iptables: "nft" | "legacy";
  /** Families of addresses that are faulted: those in which the pod has addresses. */
  readonly families: readonly Family[];
  /** Network devices but loopback, by name. */
  readonly devices: readonly string[];
  /** Why netem cannot be used; undefined where it can. */
  readonly noNetem: string | undefined;
  /** Why packets cannot be sent to the engine; undefined where they can. */
  readonly noNfqueue: string | undefined;
  /** Devices whose root queueing discipline somebody else put there. */
  readonly foreignQdiscs: readonly string[];
  /** Addresses from which the kubelet's probes come: the node's own and the pod's default gateways. */
  readonly probeSources: readonly string[];
  /** TCP ports that the kubelet probes. */
  readonly probePorts: readonly number[];
  /** TCP port of the agent. */
  readonly agentPort: number;
  readonly hasIfb: boolean;
  readonly hasMeshRedirect: boolean;
  /** Whether an eBPF program sits on a device: it may send packets past every rule. */
  readonly hasBpf: boolean;
}

export interface KnownFacts {
  readonly hostIps: readonly string[];
  /** Addresses of the pod. */
  readonly podIps: readonly string[];
  readonly probePorts: readonly number[];
  readonly agentPort: number;
}

const routes = z.array(z.object({ gateway: z.optional(z.string()) }));
const links = z.array(z.object({ ifname: z.string(), flags: z._default(z.array(z.string()), []), xdp: z.optional(z.unknown()) }));
const qdiscs = z.array(
  z.object({ kind: z.string(), handle: z._default(z.string(), "0:"), dev: z.string(), root: z._default(z.boolean(), false) }),
);

/**
 * Finds out what the surroundings allow. Throws where no back end of iptables works, naming what each of them said. Each program costs some
 * milliseconds of a sidecar's start, so what one of them can do is asked at once.
 */
export async function readPodFacts(programs: Programs, known: KnownFacts): Promise<PodFacts> {
  const read = async (argv: Command["argv"], ...lines: readonly string[]): Promise<string> =>
    (await programs.run(lines.length === 0 ? { argv } : { argv, stdin: `${lines.join("\n")}\n` })).stdout;
  const { iptables, noNfqueue } = await findBackend(programs);
  const onLo = `dev lo root handle ${ROOT_HANDLE}:`;
  const ifb = `${KERNEL_PREFIX}ifb`;
  const [shown, routes6, shaped, noNetem, noIfb, nat] = await Promise.all([
    read(["ip", "-j", "-batch", "-"], "link show", "route show default"),
    read(["ip", "-j", "-6", "route", "show", "default"]).catch(() => ""), // a kernel without IPv6
    read(["tc", "-j", "qdisc", "show"]),
    tryOut(programs, ["tc", "-batch", "-"], { do: [`qdisc add ${onLo} netem`], undo: [`qdisc del ${onLo}`] }),
    tryOut(programs, ["ip", "-batch", "-"], { do: [`link add ${ifb} type ifb`], undo: [`link del ${ifb}`] }),
    read([`iptables-${iptables}-save`]),
  ]);
  const [listed = "", routes4 = ""] = shown.split("\n"); // one line for each line of input
  const gateways = [routes4, routes6].flatMap((text) => routes.parse(JSON.parse(text || "[]")).flatMap(({ gateway }) => gateway ?? []));
  const found = links
    .parse(JSON.parse(listed || "[]"))
    .filter(({ ifname, flags }) => !flags.includes("LOOPBACK") && !ifname.startsWith(KERNEL_PREFIX));
  const devices = found.map(({ ifname }) => ifname);
  const disciplines = qdiscs.parse(JSON.parse(shaped || "[]"));
  const filters = await Promise.all(
    devices.map(
      (device) => read(["tc", "-batch", "-"], ...["ingress", "egress"].map((way) => `filter show dev ${device} ${way}`)).catch(() => ""), // gone already
    ),
  );
  return {
    iptables,
    families: familiesOf(known.podIps, programs.has(`ip6tables-${iptables}-restore`)),
    devices,
    noNetem: noNetem === undefined ? undefined : sentence(noNetem),
    noNfqueue: noNfqueue === undefined ? undefined : sentence(noNfqueue),
    foreignQdiscs: disciplines.flatMap(({ dev, root, handle }) =>
      root && handle !== "0:" && handle !== `${ROOT_HANDLE}:` && devices.includes(dev) ? [dev] : [],
    ),
    probeSources: [...new Set([...known.hostIps, ...gateways])].toSorted(),
    probePorts: [...new Set(known.probePorts)].toSorted((a, b) => a - b),
    agentPort: known.agentPort,
    hasIfb: noIfb === undefined,
    hasMeshRedirect: /^:(ISTIO_|PROXY_INIT_)/m.test(nat),
    hasBpf: filters.some((text) => /\bbpf\b/.test(text)) || found.some(({ xdp }) => xdp !== undefined),
  };
}

/** Where nothing is known of the pod's addresses, faults are for both: a rule for a family that is not there matches nothing. */
function familiesOf(podIps: readonly string[], hasIp6tables: boolean): readonly Family[] {
  const known = families.filter((family) => podIps.length === 0 || podIps.some((ip) => ip.includes(":") === (family === "ipv6")));
  return known.filter((family) => family === "ipv4" || hasIp6tables);
}

/** What the rest of the system is told. */
export function passportOf(facts: PodFacts): Passport {
  const missing = [
    ...(facts.noNetem === undefined ? [] : [`netem: ${facts.noNetem}`]),
    ...(facts.noNfqueue === undefined ? [] : [`nfqueue: ${facts.noNfqueue}`]),
    ...facts.foreignQdiscs.map((device) => `netem: Another tool shapes ${device}.`),
  ];
  return {
    engines: [...(facts.noNetem === undefined ? ["netem"] : []), ...(facts.noNfqueue === undefined ? ["nfqueue"] : [])],
    missing,
    iptables: facts.iptables,
    families: [...facts.families],
    devices: [...facts.devices],
    hasIfb: facts.hasIfb,
    hasMeshRedirect: facts.hasMeshRedirect,
    hasBpf: facts.hasBpf,
    familiesOfFaults: ["network"],
    volumes: [],
  };
}

/**
 * A back end works when it can make a chain in each table that faults use: `--test` and listing succeed on a kernel that lacks them. The first
 * try asks for NFQUEUE as well, as most kernels have it.
 */
async function findBackend(programs: Programs): Promise<Pick<PodFacts, "iptables" | "noNfqueue">> {
  const complaints: string[] = [];
  for (const iptables of ["nft", "legacy"] as const) {
    const noNfqueue = await tryChains(programs, iptables, { filter: "RETURN", mangle: "NFQUEUE --queue-num 1 --queue-bypass" });
    if (noNfqueue === undefined) return { iptables, noNfqueue };
    const complaint = await tryChains(programs, iptables, { filter: "RETURN", mangle: "RETURN" });
    if (complaint === undefined) return { iptables, noNfqueue };
    complaints.push(complaint);
  }
  throw new Error(`No iptables works here. ${complaints.join("; ")}`);
}

/** Makes a chain with one rule in each table, which nothing jumps to, and removes it. */
function tryChains(
  programs: Programs,
  backend: PodFacts["iptables"],
  targets: Readonly<Record<string, string>>,
): Promise<string | undefined> {
  const name = `${KERNEL_PREFIX}try`;
  const argv: Command["argv"] = [`iptables-${backend}-restore`, "--noflush"];
  const making = Object.entries(targets).flatMap(([table, target]) => [
    `*${table}`,
    `:${name} - [0:0]`,
    `-A ${name} -j ${target}`,
    "COMMIT",
  ]);
  const removing = Object.keys(targets).flatMap((table) => [`*${table}`, `-F ${name}`, `-X ${name}`, "COMMIT"]);
  return tryOut(programs, argv, { do: making, undo: removing });
}

/**
 * Does something harmless and takes it back, by one run of a program that reads both; returns what was said when it could not be done. What an
 * earlier life that was cut off in between left in the way is taken back first.
 */
async function tryOut(
  programs: Programs,
  argv: Command["argv"],
  { do: doing, undo }: { readonly do: readonly string[]; readonly undo: readonly string[] },
): Promise<string | undefined> {
  const complaintOf = async (lines: readonly string[]): Promise<string | undefined> => {
    try {
      await programs.run({ argv, stdin: `${lines.join("\n")}\n` });
      return undefined;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  };
  const complaint = await complaintOf([...doing, ...undo]);
  if (complaint === undefined || (await complaintOf(undo)) !== undefined) return complaint;
  return complaintOf([...doing, ...undo]);
}

/** What a program said last, as a sentence; that a line of its input failed is no reason. */
function sentence(text: string): string {
  const lines = text.trim().split("\n");
  const last = lines.findLast((line) => !line.startsWith("Command failed"))?.trim() ?? "";
  return last.endsWith(".") ? last : `${last}.`;
}
