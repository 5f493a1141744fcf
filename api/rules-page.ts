import type { z } from "zod";
import type { KindDefinition } from "./kinds/definition.ts";

/** The tables of docs/rules.md: for each kind who holds its rules across fields. */
export function planRuleTables(definitions: readonly KindDefinition<z.ZodType>[]): string {
  return definitions
    .filter(({ rules }) => rules.length > 0)
    .map(({ kind, rules }) =>
      [
        `### ${kind}`,
        "",
        "| rule | held by |",
        "| --- | --- |",
        ...rules.map(({ title, cel }) => `| ${title.replaceAll("|", "\\|")} | ${cel === undefined ? "webhook only" : "CRD and webhook"} |`),
      ].join("\n"),
    )
    .join("\n\n");
}
