import { mkdirSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import type { BenchResult } from "./result.ts";

/**
 * `npm run bench [-- NAME …]`: measures, prints tables, keeps the raw figures in bench/results/. Figures of one machine mean little;
 * the ratios, taken in one run, are what we claim. A missed goal is reported and does not fail the run.
 */
const benches: Readonly<Record<string, () => Promise<{ run(): Promise<BenchResult> }>>> = {
  injector: () => import("./injector.ts"),
  validation: () => import("./validation.ts"),
  engine: () => import("./engine.ts"),
  engines: () => import("./engines.ts"),
  "network-apply": () => import("./network-apply.ts"),
  "fan-out": () => import("./fan-out.ts"),
  lifecycle: () => import("./lifecycle.ts"),
  sidecar: () => import("./sidecar.ts"),
  daemon: () => import("./daemon.ts"),
  "time-skew": () => import("./time-skew.ts"),
  files: () => import("./file-system.ts"),
};

const { positionals } = parseArgs({ allowPositionals: true });
const unknown = positionals.filter((name) => !(name in benches));
if (unknown.length > 0) {
  process.stderr.write(`No bench called ${unknown.join(", ")}. There are: ${Object.keys(benches).join(", ")}.\n`);
  process.exit(2);
}

mkdirSync("bench/results", { recursive: true });
for (const name of positionals.length > 0 ? positionals : Object.keys(benches)) {
  const bench = await benches[name]?.();
  if (!bench) continue;
  const result = await bench.run();
  process.stdout.write(`\n${result.title}\n`);
  const widths = { name: Math.max(...result.rows.map((row) => row.name.length)), value: 12 };
  for (const row of result.rows) {
    const value = Number.isInteger(row.value) ? String(row.value) : row.value.toPrecision(4);
    process.stdout.write(
      `  ${row.name.padEnd(widths.name)}  ${value.padStart(widths.value)} ${row.unit}${row.goal ? `   (goal ${row.goal})` : ""}\n`,
    );
  }
  for (const note of result.notes) process.stdout.write(`  ${note}\n`);
  writeFileSync(`bench/results/${name}.json`, `${JSON.stringify(result, null, 2)}\n`);
}
process.exit(0);
