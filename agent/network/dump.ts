import type { Argv } from "../plan.ts";
import type { ProgramName, Programs } from "../programs.ts";

const parts: readonly { readonly title: string; readonly argv: Argv; readonly canonical: (text: string) => readonly string[] }[] = [
  ...(["iptables-nft-save", "iptables-legacy-save", "ip6tables-nft-save", "ip6tables-legacy-save"] as const).map((name) => ({
    title: name,
    argv: [name] as Argv,
    canonical: canonicalRules,
  })),
  {
    title: "ipset",
    argv: ["ipset", "save", "-sorted"],
    canonical: (text) => linesOf(text).map((line) => line.replace(/ timeout \d+$/, "")),
  },
  { title: "qdiscs", argv: ["tc", "qdisc", "show"], canonical: linesOf },
  { title: "addresses", argv: ["ip", "-o", "addr", "show"], canonical: linesOf },
  { title: "routes", argv: ["ip", "route", "show", "table", "all"], canonical: sorted },
  { title: "routes of IPv6", argv: ["ip", "-6", "route", "show", "table", "all"], canonical: sorted },
  { title: "routing rules", argv: ["ip", "rule", "show"], canonical: linesOf },
];

/**
 * All state of this network namespace that a fault could change, as text that is the same whenever the state is: without counters,
 * comments and built-in tables that hold no rule. A part whose program is missing or fails is left out.
 */
export async function dumpNetwork(programs: Programs): Promise<string> {
  const texts = await Promise.all(
    parts.map(async ({ title, argv, canonical }) => {
      if (!programs.has(argv[0] as ProgramName)) return "";
      const result = await programs.run({ argv }).catch(() => undefined); // a back end or family that this kernel lacks holds no state
      const lines = result ? canonical(result.stdout) : [];
      return lines.length === 0 ? "" : `== ${title}\n${lines.join("\n")}\n`;
    }),
  );
  return texts.join("");
}

function linesOf(text: string): readonly string[] {
  return text
    .split("\n")
    .map((line) => line.trimEnd())
    .filter((line) => line !== "" && !line.startsWith("#"));
}

function sorted(text: string): readonly string[] {
  return linesOf(text).toSorted();
}

/** Tables that have a rule, a chain of somebody's own or a policy other than ACCEPT; without counters. */
export function canonicalRules(text: string): readonly string[] {
  const lines = linesOf(text).map((line) => line.replace(/ \[\d+:\d+\]$/, ""));
  const tables: string[][] = [];
  for (const line of lines) {
    if (line.startsWith("*")) tables.push([]);
    tables.at(-1)?.push(line);
  }
  return tables
    .filter((table) => table.some((line) => line.startsWith("-A") || (line.startsWith(":") && !line.endsWith(" ACCEPT"))))
    .flat();
}
