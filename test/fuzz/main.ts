import { parseArgs } from "node:util";
import { describeReport, fuzz } from "./fuzz.ts";

/** `npm run fuzz -- --cases N --seed S`: the same seed gives the same cases. */
const { values } = parseArgs({
  options: { cases: { type: "string", default: "100000" }, seed: { type: "string", default: String(Date.now() % 2 ** 31) } },
});
const [cases, seed] = [Number(values.cases), Number(values.seed)];
if (!Number.isSafeInteger(cases) || cases < 1 || !Number.isSafeInteger(seed)) {
  process.stderr.write("--cases and --seed are whole numbers.\n");
  process.exit(2);
}
const report = await fuzz({ cases, seed });
process.stdout.write(`${describeReport(report)}\n`);
process.exit(report.failures.length === 0 ? 0 : 1);
