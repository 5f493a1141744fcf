import { readFile } from "node:fs/promises";
import { KERNEL_PREFIX, ROOT_HANDLE } from "../../common/names.ts";
import type { Command } from "../plan.ts";
import type { ProgramName, Programs } from "../programs.ts";

/** Tables that chains of ours may be in. */
const tables = ["filter", "mangle"] as const;
const backends = ["iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"] as const;
type Backend = (typeof backends)[number];

/** Where the kernel names the tables of a back end: without one of them it holds no rules, and its program need not be asked. */
const tableNames: Partial<Readonly<Record<Backend, string>>> = {
  "iptables-legacy": "/proc/self/net/ip_tables_names",
  "ip6tables-legacy": "/proc/self/net/ip6_tables_names",
};

/**
 * Removes every chain, jump, set, queueing discipline and device that carries our name in this network namespace, whoever made it, in both families
 * and both back ends of iptables.
 * Fine when there is nothing. What is foreign stays, even a rule that mentions one of our sets: then the set stays as well, and ipset says so.
 */
export async function sweepNetwork(programs: Programs): Promise<void> {
  await Promise.all(backends.map((backend) => sweepRules(backend, programs)));
  const [sets, qdiscs, links] = await Promise.all([
    programs.run({ argv: ["ipset", "list", "-name"] }),
    programs.run({ argv: ["tc", "qdisc", "show"] }),
    programs.run({ argv: ["ip", "-br", "link", "show"] }),
  ]);
  const commands = [planSetSweep(sets.stdout), planTreeSweep(qdiscs.stdout), ...planLinkSweep(links.stdout)];
  for (const command of commands) if (command) await programs.run(command);
}

async function sweepRules(backend: Backend, programs: Programs): Promise<void> {
  const save: ProgramName = `${backend}-save`;
  if (!programs.has(save) || !(await mayHoldRules(backend))) return;
  const saved = await programs.run({ argv: [save] }).catch(() => undefined); // a back end that this kernel does not serve holds no rules
  const command = saved && planRuleSweep(backend, saved.stdout);
  if (command) await programs.run(command);
}

async function mayHoldRules(backend: Backend): Promise<boolean> {
  const path = tableNames[backend];
  if (path === undefined) return true;
  return (await readFile(path, "utf8").catch(() => "")).trim() !== ""; // no such file where its module is not loaded
}

/** From what iptables-save printed: one restore that takes out the jumps to our chains, then the chains; undefined when there are none. */
export function planRuleSweep(backend: Backend, saved: string): Command | undefined {
  const lines = tables.flatMap((table) => {
    const section = sectionOf(saved, table);
    const ours = section.flatMap((line) => new RegExp(`^:(${KERNEL_PREFIX}\\S+) `).exec(line)?.[1] ?? []);
    if (ours.length === 0) return [];
    const jumps = section.filter(
      (line) =>
        line.startsWith("-A ") &&
        !line.startsWith(`-A ${KERNEL_PREFIX}`) &&
        ours.some((name) => line.endsWith(` -j ${name}`) || line.endsWith(` -g ${name}`)),
    );
    return [
      `*${table}`,
      ...jumps.map((line) => line.replace(/^-A/, "-D")),
      ...ours.map((name) => `-F ${name}`),
      ...ours.map((name) => `-X ${name}`),
      "COMMIT",
    ];
  });
  return lines.length === 0 ? undefined : { argv: [`${backend}-restore`, "--noflush"], stdin: `${lines.join("\n")}\n` };
}

/** From what `ipset list -name` printed. */
export function planSetSweep(listed: string): Command | undefined {
  // lists first: a set that is in one cannot be destroyed
  const isList = (name: string): number => (name.startsWith(`${KERNEL_PREFIX}l-`) ? 0 : 1);
  const ours = listed
    .split("\n")
    .filter((name) => name.startsWith(KERNEL_PREFIX))
    .toSorted((a, b) => isList(a) - isList(b));
  return ours.length === 0 ? undefined : { argv: ["ipset", "restore"], stdin: `${ours.map((name) => `destroy ${name}`).join("\n")}\n` };
}

/** From what `tc qdisc show` printed: removes our root from every device. */
export function planTreeSweep(listed: string): Command | undefined {
  const ours = listed.split("\n").flatMap((line) => new RegExp(`^qdisc \\S+ ${ROOT_HANDLE}: dev (\\S+) root`).exec(line)?.[1] ?? []);
  if (ours.length === 0) return undefined;
  return {
    argv: ["tc", "-batch", "-"],
    stdin: `${ours.map((device) => `qdisc del dev ${device} root handle ${ROOT_HANDLE}:`).join("\n")}\n`,
  };
}

/** From what `ip -br link show` printed: devices are only ever made to see whether they can be. */
export function planLinkSweep(listed: string): readonly Command[] {
  const ours = listed.split("\n").flatMap((line) => new RegExp(`^(${KERNEL_PREFIX}[^\\s@]+)`).exec(line)?.[1] ?? []);
  return ours.map((name) => ({ argv: ["ip", "link", "del", name] }));
}

/** The lines of one table in the output of iptables-save. */
function sectionOf(saved: string, table: string): readonly string[] {
  const lines = saved.split("\n");
  const start = lines.indexOf(`*${table}`);
  return start < 0 ? [] : lines.slice(start + 1, lines.indexOf("COMMIT", start));
}
