import assert from "node:assert/strict";
import { describeReport, fuzz } from "./fuzz.ts";
import { sendGarbage } from "./garbage.ts";

/** `npm run fuzz -- --seed S` gives the cases of a failure again. */
const seed = Date.now() % 2 ** 31;

describe("sound objects of every kind, changed anywhere", () => {
  it("are answered, 100,000 of them: no crash, no hang, no prototype changed, and what is admitted is admitted again", async () => {
    const report = await fuzz({ cases: 100_000, seed });
    process.stdout.write(`      ${describeReport(report)}\n`);
    assert.deepEqual(report.failures, []);
    const share = (outcome: string): number => (report.outcomes[outcome] ?? 0) / report.cases;
    assert.ok(share("admitted") > 0.1 && share("InvalidSpec") > 0.1, "the cases are too tame, or too wild");
  });

  it("are answered over HTTPS, with reviews that are broken themselves: 200 or 4xx, never 5xx", async () => {
    const { statuses, logged } = await sendGarbage({ requests: 3_000, seed });
    process.stdout.write(`      ${JSON.stringify(statuses)}, seed ${seed}\n`);
    assert.deepEqual(logged, []);
    assert.deepEqual(
      Object.keys(statuses).filter((status) => !/^(200|4..)$/.test(status)),
      [],
    );
    assert.ok((statuses["200"] ?? 0) > 500 && (statuses["400"] ?? 0) > 500);
  });
});
