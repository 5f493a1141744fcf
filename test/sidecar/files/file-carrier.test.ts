import assert from "node:assert/strict";
import type { Carrier } from "../../../agent/carrier.ts";
import { noReceipt } from "../../../agent/held-fault.ts";
import type { Refusal } from "../../../agent/plan.ts";
import { silentLog } from "../../../common/log.ts";
import type { Fault, MethodReceipt } from "../../../proto/gen/agent.ts";
import type { IoFault } from "../../../proto/gen/faults.ts";
import { createFileCarrier } from "../../../sidecar/files/file-carrier.ts";
import type { FileServers } from "../../../sidecar/files/file-servers.ts";
import type { Counts, ServedFault } from "../../../sidecar/files/server-messages.ts";
import type { VolumeState } from "../../../sidecar/files/volume-keeper.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { emptyPassport } from "../../support/fake-family.ts";

const fault = (id: string, volume = "data"): Fault => ({
  id,
  experimentUid: "e",
  experiment: `IOChaos/shop/${id}`,
  leaseMs: 60_000,
  remainingMs: undefined,
  target: undefined,
  family: {
    $case: "io",
    value: {
      volume,
      mountPath: "/var/lib/store",
      subPath: "",
      path: "",
      methods: ["read", "write"],
      percent: 50,
      effect: { $case: "latency", value: { delayUs: 250_000 } },
    },
  },
});

/** Servers that take every rule at once, unless one is told to say nothing or to fail. */
class FakeServers implements FileServers {
  readonly states = new Map<string, VolumeState>([
    ["data", { is: "serving" }],
    ["cache", { is: "serving" }],
  ]);
  readonly rules: string[] = [];
  readonly counts = new Map<string, readonly Counts[]>();
  silent = new Set<string>();
  failing = new Set<string>();
  tellChange = (): void => undefined;

  state(): ReadonlyMap<string, VolumeState> {
    return this.states;
  }
  refusalOf({ methods }: IoFault): ReturnType<FileServers["refusalOf"]> {
    return methods.includes("ioctl") ? { reason: "NotHere", message: "not with this driver" } : undefined;
  }
  rule(volume: string, faults: readonly ServedFault[]): Promise<void> {
    this.rules.push(`${volume}: ${faults.map(({ id, remainingMs }) => `${id} ${remainingMs}`).join(", ")}`);
    if (this.silent.has(volume)) return new Promise(() => undefined);
    return this.failing.has(volume) ? Promise.reject(new Error("the channel is closed")) : Promise.resolve();
  }
  count(volume: string): Promise<readonly Counts[]> {
    if (this.silent.has(volume)) return new Promise(() => undefined);
    return Promise.resolve(this.counts.get(volume) ?? []);
  }
  onChange(callback: () => void): void {
    this.tellChange = callback;
  }
}

interface Fixture {
  readonly carrier: Carrier;
  readonly servers: FakeServers;
  readonly clock: FakeClock;
  /** Has these faults wanted with so much time left. */
  readonly converge: (faults: readonly Fault[], remainingMs?: number) => Promise<readonly Refusal[]>;
  readonly replaced: () => number;
}

function fixture(): Fixture {
  const servers = new FakeServers();
  const clock = new FakeClock();
  const carrier = createFileCarrier({ servers, passport: () => emptyPassport, clock, log: silentLog });
  let replaced = 0;
  return {
    carrier,
    servers,
    clock,
    replaced: () => replaced,
    converge: (faults, remainingMs = 60_000) =>
      carrier.converge(faults, {
        remainingMs: () => remainingMs,
        beforeReplacing: () => {
          replaced++;
          return Promise.reject(new Error("no receipts, which must not matter"));
        },
      }),
  };
}

const method = (name: string, counts: Partial<MethodReceipt>): MethodReceipt => ({
  method: name,
  seen: 0,
  matched: 0,
  delayed: 0,
  failed: 0,
  falsified: 0,
  ...counts,
});
const summaryOf = (refusals: readonly Refusal[]): readonly unknown[] =>
  refusals.map(({ faultId, reason, isTransient = false }) => [faultId, reason, isTransient ? "transient" : "for good"]);

describe("createFileCarrier", () => {
  it("tells the server of each volume its complete set, in the order of ids, with the time that is left", async () => {
    const { servers, converge } = fixture();
    assert.deepEqual(await converge([fault("b"), fault("c", "cache"), fault("a")], 5_000), []);
    assert.deepEqual(servers.rules, ["data: a 5000, b 5000", "cache: c 5000"]);
  });

  it("renews the time at each visit, without a look at receipts", async () => {
    const { servers, converge, replaced } = fixture();
    await converge([fault("a")], 60_000);
    await converge([fault("a")], 59_000);
    assert.deepEqual(servers.rules, ["data: a 60000", "data: a 59000"]);
    assert.equal(replaced(), 0);
  });

  it("has receipts read before a fault goes, takes it back whether or not they can be, and is idle then", async () => {
    const { carrier, servers, converge, replaced } = fixture();
    await converge([fault("a"), fault("b")]);
    await converge([fault("a")]);
    assert.equal(replaced(), 1);
    assert.equal(carrier.isIdle, false);
    assert.deepEqual(await converge([]), []);
    assert.deepEqual(servers.rules.slice(1), ["data: a 60000", "data: "]);
    assert.equal(carrier.isIdle, true);
    await converge([]);
    assert.equal(servers.rules.length, 3);
  });

  it("leaves out what has no time left", async () => {
    const { servers, converge } = fixture();
    await converge([fault("a")], -1);
    assert.deepEqual(servers.rules, ["data: "]);
  });

  it("refuses a fault of a volume that is not served, and says which are", async () => {
    const { servers, converge } = fixture();
    servers.states.set("big", { is: "refused", reason: "NoSuchFolder", message: "There is none." });
    const refusals = await converge([fault("a", "other"), fault("b", "big"), fault("c")]);
    assert.deepEqual(summaryOf(refusals), [
      ["a", "VolumeNotServed", "for good"],
      ["b", "VolumeNotServed", "for good"],
    ]);
    assert.match(refusals[0]?.message ?? "", /served: data, cache\. Name it in the pod's annotation squall\.dev\/volumes/);
    assert.match(refusals[1]?.message ?? "", /NoSuchFolder: There is none\./);
    assert.deepEqual(servers.rules, ["data: c 60000"]);
  });

  it("refuses a fault that the driver of the volumes cannot carry out, and carries out the others", async () => {
    const { servers, converge } = fixture();
    const other = fault("a");
    assert.ok(other.family?.$case === "io");
    const asked: Fault = { ...other, family: { $case: "io", value: { ...other.family.value, methods: ["ioctl"] } } };
    assert.deepEqual(await converge([asked, fault("b")]), [{ faultId: "a", reason: "NotHere", message: "not with this driver" }]);
    assert.deepEqual(servers.rules, ["data: b 60000"]);
  });

  it("has a volume's first server begin with its faults, and says until then that they wait", async () => {
    const { servers, converge, carrier } = fixture();
    servers.states.set("data", { is: "waiting" });
    servers.silent.add("data");
    assert.deepEqual(summaryOf(await converge([fault("a")])), [["a", "VolumeNotMounted", "transient"]]);
    assert.deepEqual(servers.rules, ["data: a 60000"]);
    let changes = 0;
    carrier.onChange(() => changes++);
    servers.states.set("data", { is: "serving" });
    servers.silent.clear();
    servers.tellChange();
    assert.equal(changes, 1);
    assert.deepEqual(await converge([fault("a")]), []);
  });

  it("says that a fault is gone when its server is, and has the next one begin without it", async () => {
    const { servers, converge, carrier } = fixture();
    await converge([fault("a")]);
    servers.states.set("data", { is: "waiting" });
    servers.failing.add("data");
    assert.deepEqual(await converge([]), []);
    assert.equal(servers.rules.at(-1), "data: ");
    assert.equal(carrier.isIdle, true);
  });

  it("waits 3 s for a server, while the others do their part, and tells of what may still be in force until its time is over", async () => {
    const { servers, converge, clock } = fixture();
    await converge([fault("a"), fault("c", "cache")], 10_000);
    servers.silent.add("data");
    const visit = converge([fault("b"), fault("c", "cache")], 10_000);
    await clock.advance(3_000);
    const refusals = await visit;
    assert.deepEqual(summaryOf(refusals), [
      ["b", "ApplyFailed", "transient"],
      ["a", "RecoverFailed", "transient"],
    ]);
    assert.match(refusals[0]?.message ?? "", /volume data did not take its faults: There was no answer within 3000 ms/);
    assert.deepEqual(servers.rules.slice(2), ["data: b 10000", "cache: c 10000"]);
    await clock.advance(9_000);
    assert.deepEqual(summaryOf(await converge([])), []);
  });

  it("tries again when a server did not take its faults", async () => {
    const { servers, converge } = fixture();
    servers.failing.add("data");
    assert.deepEqual(summaryOf(await converge([fault("a")])), [["a", "ApplyFailed", "transient"]]);
    servers.failing.clear();
    assert.deepEqual(await converge([fault("a")]), []);
  });

  it("adds the counts of all methods up, and tells those of one volume when the server of another does not answer", async () => {
    const { servers, converge, carrier, clock } = fixture();
    await converge([fault("a"), fault("b", "cache")]);
    const write = method("write", { seen: 9, matched: 5, delayed: 4, failed: 1 });
    const read = method("read", { seen: 3, matched: 2, delayed: 2, falsified: 1 });
    servers.counts.set("data", [
      { id: "a", methods: [write, read], firstMs: 1_000, lastMs: 2_000 },
      { id: "gone", methods: [], firstMs: 0, lastMs: 0 },
    ]);
    servers.silent.add("cache");
    const reading = carrier.readReceipts(["a", "b"]);
    await clock.advance(1_000);
    const receipts = await reading;
    assert.deepEqual([...receipts.keys()], ["a"]);
    assert.deepEqual(receipts.get("a"), {
      ...noReceipt,
      matched: 7,
      delayed: 6,
      failed: 1,
      falsified: 1,
      methods: [read, write],
      firstMs: 1_000,
      lastMs: 2_000,
    });
  });

  it("explains faults in words", () => {
    const explained = fixture().carrier.explain([fault("a")]);
    assert.deepEqual(explained, [
      {
        experiment: "IOChaos/shop/a",
        volume: "data",
        files: "/var/lib/store/**",
        methods: "read, write",
        effect: "delayed by 250 ms, 50 % of them",
      },
    ]);
  });
});
