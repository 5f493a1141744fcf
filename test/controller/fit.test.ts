import assert from "node:assert/strict";
import type { ContainerRecord } from "../../api/status.ts";
import { statusSchema } from "../../api/status.ts";
import { fitRecords, isTooLarge, writtenRecords } from "../../controller/fit.ts";

const record = (index: number, own: Partial<ContainerRecord> = {}): ContainerRecord => ({
  id: `shop/web-${String(index).padStart(5, "0")}`,
  selectorKey: ".",
  phase: "Injected",
  injectedCount: 1,
  recoveredCount: 0,
  targetUID: "0cf7a4d4-7a4e-4b52-9a3e-2f4a7f1d0c11",
  events: [{ type: "Succeeded", operation: "Apply", timestamp: "2026-01-01T00:00:00Z" }],
  receipts: { matched: 1_000, dropped: 0, delayed: 1_000, exempted: 3, firstTime: "2026-01-01T00:00:00.000Z" },
  ...own,
});
const many = (count: number, own: Partial<ContainerRecord> = {}): readonly ContainerRecord[] =>
  Array.from({ length: count }, (_, index) => record(index, own));
const bytesOf = (value: unknown): number => Buffer.byteLength(JSON.stringify(value));

describe("records that have to fit into one object", () => {
  it("stay as they are while there are few", () => {
    const few = many(1_000);
    assert.deepEqual(fitRecords(few), { records: few, omitted: [] });
    assert.equal(writtenRecords(few), few);
  });

  it("lose events first, but for the last word of a failure", () => {
    const message = "no";
    const failed = record(0, { events: [{ type: "Failed", operation: "Apply", message, timestamp: "2026-01-01T00:00:00Z" }] });
    const { records, omitted } = fitRecords([failed, ...many(3_000)]);
    assert.deepEqual(omitted, ["events"]);
    assert.equal(records[0]?.events?.[0]?.message, message);
    assert.equal(records[1]?.events, undefined);
    assert.ok(records[1]?.receipts);
  });

  it("lose receipts by method before all else", () => {
    const methods = Object.fromEntries(
      ["read", "write", "fsync", "lookup"].map((name) => [name, { seen: 1_000, matched: 1_000, delayed: 1_000 }]),
    );
    const receipts = { matched: 4_000, dropped: 0, delayed: 4_000, exempted: 0 };
    const { records, omitted } = fitRecords(many(2_000, { receipts: { ...receipts, methods } }));
    assert.deepEqual(omitted, ["receipts by method"]);
    assert.deepEqual(records[0]?.receipts, receipts);
    assert.equal(records[0]?.events?.length, 1);
  });

  it("come to less than etcd takes for ten thousand pods, in every phase, and are read back whole", () => {
    for (const own of [
      { phase: "Not Injected/Wait", injectedCount: 0 },
      { recoveredCount: 0 },
      { phase: "Not Injected", recoveredCount: 1 },
    ] as const) {
      const { records, omitted } = fitRecords(many(10_000, own));
      assert.deepEqual(omitted, ["events", "receipts"]);
      const written = writtenRecords(records);
      assert.ok(bytesOf(written) < 1_450_000, `${bytesOf(written)} bytes`);
      assert.deepEqual(statusSchema.parse({ experiment: { containerRecords: written } }).experiment.containerRecords, records);
    }
  });

  it("are too many at some point", () => {
    assert.equal(isTooLarge(many(10_000)), false);
    assert.equal(isTooLarge(many(15_000)), true);
  });

  it("come out the same when they are fitted again, so that nothing is written for it", () => {
    const once = fitRecords(many(10_000)).records;
    assert.deepEqual(fitRecords(once).records, once);
  });
});
