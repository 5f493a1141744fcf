import * as z from "zod/mini";
import { KERNEL_PREFIX } from "../../common/names.ts";
import type { Passport } from "../../proto/gen/agent.ts";
import type { Command } from "../plan.ts";
import type { Programs } from "../programs.ts";
import { type Family, families, ROOT_HANDLE } from "./names.ts";

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

/** Finds out what the surroundings allow. Throws where no back end of iptables works, naming what each of them said. */
export async function readPodFacts(programs: Programs, known: KnownFacts): Promise<PodFacts> {
  const read = async (...argv: Command["argv"]): Promise<string> => (await programs.run({ argv })).stdout;
  const iptables = await findBackend(programs);
  const [routes4, routes6, listed, shaped, noNetem, noNfqueue, hasIfb, nat] = await Promise.all([
    read("ip", "-j", "-4", "route", "show", "default"),
    read("ip", "-j", "-6", "route", "show", "default").catch(() => ""), // a kernel without IPv6
    read("ip", "-j", "link", "show"),
    read("tc", "-j", "qdisc", "show"),
    tryOut(programs, {
      do: { argv: ["tc", "qdisc", "add", "dev", "lo", "root", "handle", `${ROOT_HANDLE}:`, "netem"] },
      undo: { argv: ["tc", "qdisc", "del", "dev", "lo", "root", "handle", `${ROOT_HANDLE}:`] },
    }),
    tryChain(programs, iptables, ["mangle"], "-j NFQUEUE --queue-num 1 --queue-bypass"),
    tryOut(programs, {
      do: { argv: ["ip", "link", "add", `${KERNEL_PREFIX}ifb`, "type", "ifb"] },
      undo: { argv: ["ip", "link", "del", `${KERNEL_PREFIX}ifb`] },
    }),
    read(`iptables-${iptables}-save`),
  ]);
  const gateways = [routes4, routes6].flatMap((text) => routes.parse(JSON.parse(text || "[]")).flatMap(({ gateway }) => gateway ?? []));
  const found = links
    .parse(JSON.parse(listed || "[]"))
    .filter(({ ifname, flags }) => !flags.includes("LOOPBACK") && !ifname.startsWith(KERNEL_PREFIX));
  const devices = found.map(({ ifname }) => ifname);
  const disciplines = qdiscs.parse(JSON.parse(shaped || "[]"));
  const filters = await Promise.all(
    devices.flatMap((device) => ["ingress", "egress"].map((way) => read("tc", "filter", "show", "dev", device, way).catch(() => ""))),
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
    hasIfb: hasIfb === undefined,
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
  };
}

/** A back end works when it can make a chain in each table that faults use: `--test` and listing succeed on a kernel that lacks them. */
async function findBackend(programs: Programs): Promise<PodFacts["iptables"]> {
  const complaints: string[] = [];
  for (const backend of ["nft", "legacy"] as const) {
    const complaint = await tryChain(programs, backend, ["filter", "mangle"], "-j RETURN");
    if (complaint === undefined) return backend;
    complaints.push(complaint);
  }
  throw new Error(`No iptables works here. ${complaints.join("; ")}`);
}

/**
 * Does something harmless and takes it back; returns what was said when it could not be done. What an earlier life that was cut off in between
 * left in the way is taken back first.
 */
async function tryOut(
  programs: Programs,
  { do: command, undo }: { readonly do: Command; readonly undo: Command },
): Promise<string | undefined> {
  const complaintOf = async (tried: Command): Promise<string | undefined> => {
    try {
      await programs.run(tried);
      return undefined;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  };
  let complaint = await complaintOf(command);
  if (complaint !== undefined && (await complaintOf(undo)) === undefined) complaint = await complaintOf(command);
  if (complaint === undefined) await programs.run(undo);
  return complaint;
}

/** Makes a chain with this rule in each table, which nothing jumps to, and removes it. */
function tryChain(programs: Programs, backend: PodFacts["iptables"], tables: readonly string[], rule: string): Promise<string | undefined> {
  const name = `${KERNEL_PREFIX}try`;
  const restore = (...lines: readonly string[]): Command => ({
    argv: [`iptables-${backend}-restore`, "--noflush"],
    stdin: `${tables.flatMap((table) => [`*${table}`, ...lines, "COMMIT"]).join("\n")}\n`,
  });
  return tryOut(programs, { do: restore(`:${name} - [0:0]`, `-A ${name} ${rule}`), undo: restore(`-F ${name}`, `-X ${name}`) });
}

/** The last line that a program said, as a sentence. */
function sentence(text: string): string {
  const last = text.trim().split("\n").at(-1)?.trim() ?? "";
  return last.endsWith(".") ? last : `${last}.`;
}
