import { KERNEL_PREFIX } from "../../common/names.ts";
import type { Command } from "../plan.ts";
import type { ProgramName, Programs } from "../programs.ts";

/** Tables that chains of ours may be in. */
const tables = ["filter", "mangle"] as const;
const backends = ["nft", "legacy"] as const;

/**
 * Removes every chain, jump and set that carries our name in this network namespace, whoever made it, in both back ends of iptables.
 * Fine when there is nothing. What is foreign stays, even a rule that mentions one of our sets: then the set stays as well, and ipset says so.
 */
export async function sweepNetwork(programs: Programs): Promise<void> {
  for (const backend of backends) {
    const save: ProgramName = `iptables-${backend}-save`;
    if (!programs.has(save)) continue;
    const saved = await programs.run({ argv: [save] }).catch(() => undefined); // a back end that this kernel does not serve holds no rules
    const command = saved && planRuleSweep(backend, saved.stdout);
    if (command) await programs.run(command);
  }
  const { stdout } = await programs.run({ argv: ["ipset", "list", "-name"] });
  const command = planSetSweep(stdout);
  if (command) await programs.run(command);
}

/** From what iptables-save printed: one restore that takes out the jumps to our chains, then the chains; undefined when there are none. */
export function planRuleSweep(backend: (typeof backends)[number], saved: string): Command | undefined {
  const lines = tables.flatMap((table) => {
    const section = sectionOf(saved, table);
    const ours = section.flatMap((line) => new RegExp(`^:(${KERNEL_PREFIX}\\S+) `).exec(line)?.[1] ?? []);
    if (ours.length === 0) return [];
    const jumps = section.filter(
      (line) => line.startsWith("-A ") && !line.startsWith(`-A ${KERNEL_PREFIX}`) && ours.some((name) => line.endsWith(` -j ${name}`)),
    );
    return [
      `*${table}`,
      ...jumps.map((line) => line.replace(/^-A/, "-D")),
      ...ours.map((name) => `-F ${name}`),
      ...ours.map((name) => `-X ${name}`),
      "COMMIT",
    ];
  });
  return lines.length === 0 ? undefined : { argv: [`iptables-${backend}-restore`, "--noflush"], stdin: `${lines.join("\n")}\n` };
}

/** From what `ipset list -name` printed. */
export function planSetSweep(listed: string): Command | undefined {
  const ours = listed.split("\n").filter((name) => name.startsWith(KERNEL_PREFIX));
  return ours.length === 0 ? undefined : { argv: ["ipset", "restore"], stdin: `${ours.map((name) => `destroy ${name}`).join("\n")}\n` };
}

/** The lines of one table in the output of iptables-save. */
function sectionOf(saved: string, table: string): readonly string[] {
  const lines = saved.split("\n");
  const start = lines.indexOf(`*${table}`);
  return start < 0 ? [] : lines.slice(start + 1, lines.indexOf("COMMIT", start));
}
