import assert from "node:assert/strict";
import { type Carrier, type Moment, NotTakenBackError } from "../../agent/carrier.ts";
import { noReceipt } from "../../agent/held-fault.ts";
import { createJointCarrier } from "../../agent/joint-carrier.ts";
import type { Refusal } from "../../agent/plan.ts";
import { silentLog } from "../../common/log.ts";
import type { Fault, Receipt } from "../../proto/gen/agent.ts";
import { emptyPassport } from "../support/fake-family.ts";

const fault = (id: string, family: "network" | "io" | "time" | undefined): Fault => {
  const bare = { id, experimentUid: "e", experiment: "x", leaseMs: 60_000, remainingMs: undefined, target: undefined };
  switch (family) {
    case "network":
      return { ...bare, family: { $case: "network", value: { rules: [], engine: 0, affectsProbes: false } } };
    case "io":
      return {
        ...bare,
        family: {
          $case: "io",
          value: { volume: "data", mountPath: "/data", subPath: "", path: "", methods: [], percent: 100, effect: undefined },
        },
      };
    case "time":
      return { ...bare, family: { $case: "time", value: { seconds: 1, nanos: 0, clockIds: [] } } };
    case undefined:
      return { ...bare, family: undefined };
  }
};
const [net, file] = [fault("net", "network"), fault("file", "io")];
const moment: Moment = { remainingMs: () => 1_000, beforeReplacing: () => Promise.resolve() };

/** A carrier that does what it is told, until it is told to fail. */
class FakeCarrier implements Carrier {
  readonly passport = emptyPassport;
  readonly hasReceiptsAtHand = false;
  inForce: readonly string[] = [];
  readonly prepared: string[] = [];
  readonly asked: (readonly string[])[] = [];
  fails: Error | undefined;
  refuses: readonly Refusal[] = [];
  receiptError: Error | undefined;
  isClosed = false;
  tellChange = (): void => undefined;

  get isIdle(): boolean {
    return this.inForce.length === 0;
  }
  prepare(faults: readonly Fault[]): Promise<void> {
    this.prepared.push(...faults.map(({ id }) => id));
    return Promise.resolve();
  }
  converge(faults: readonly Fault[]): Promise<readonly Refusal[]> {
    if (this.fails) return Promise.reject(this.fails);
    this.inForce = faults.map(({ id }) => id);
    return Promise.resolve(this.refuses);
  }
  onChange(callback: () => void): void {
    this.tellChange = callback;
  }
  remarkOf({ id }: Fault): { readonly reason: string; readonly message: string } {
    return { reason: "Remark", message: id };
  }
  resolvedOf({ id }: Fault): readonly { readonly name: string; readonly addresses: string[] }[] {
    return [{ name: id, addresses: [] }];
  }
  explain(faults: readonly Fault[]): unknown {
    return faults.map(({ id }) => id);
  }
  readReceipts(ids: readonly string[]): Promise<ReadonlyMap<string, Receipt>> {
    this.asked.push(ids);
    if (this.receiptError) return Promise.reject(this.receiptError);
    return Promise.resolve(new Map(ids.map((id) => [id, { ...noReceipt, matched: id.length }])));
  }
  close(): Promise<void> {
    this.isClosed = true;
    return this.fails ? Promise.reject(this.fails) : Promise.resolve();
  }
}

function joint(): { readonly carrier: Carrier; readonly network: FakeCarrier; readonly files: FakeCarrier } {
  const [network, files] = [new FakeCarrier(), new FakeCarrier()];
  const carrier = createJointCarrier({
    parts: [
      { families: ["network"], carrier: network },
      { families: ["io"], carrier: files },
    ],
    passport: () => ({ ...emptyPassport, volumes: ["data"] }),
    log: silentLog,
  });
  return { carrier, network, files };
}

describe("createJointCarrier", () => {
  it("gives each part the faults of its families, and speaks for all of them", async () => {
    const { carrier, network, files } = joint();
    await carrier.prepare([net, file]);
    assert.deepEqual(await carrier.converge([net, file], moment), []);
    assert.deepEqual([network.inForce, files.inForce], [["net"], ["file"]]);
    assert.deepEqual([network.prepared, files.prepared], [["net"], ["file"]]);
    assert.deepEqual(carrier.explain([net, file]), [["net"], ["file"]]);
    assert.equal(carrier.remarkOf(file)?.message, "file");
    assert.deepEqual(carrier.resolvedOf(net), [{ name: "net", addresses: [] }]);
    assert.deepEqual(carrier.passport.volumes, ["data"]);
  });

  it("is idle when every part is, and tells of a change of any", async () => {
    const { carrier, network, files } = joint();
    assert.equal(carrier.isIdle, true);
    await carrier.converge([file], moment);
    assert.equal(carrier.isIdle, false);
    let changes = 0;
    carrier.onChange(() => changes++);
    network.tellChange();
    files.tellChange();
    assert.equal(changes, 2);
  });

  it("refuses faults of families that no part has", async () => {
    const { carrier, network } = joint();
    const refusals = await carrier.converge([fault("clock", "time"), fault("newer", undefined), net], moment);
    assert.deepEqual(
      refusals.map(({ faultId, reason, isTransient }) => [faultId, reason, isTransient]),
      [
        ["clock", "NotYetSupported", undefined],
        ["newer", "NotYetSupported", undefined],
      ],
    );
    assert.deepEqual(network.inForce, ["net"]);
  });

  it("gathers what the parts refuse", async () => {
    const { carrier, network, files } = joint();
    network.refuses = [{ faultId: "net", reason: "InvalidPeers", message: "no" }];
    files.refuses = [{ faultId: "file", reason: "VolumeNotServed", message: "no" }];
    assert.deepEqual(await carrier.converge([net, file], moment), [...network.refuses, ...files.refuses]);
  });

  for (const [failing, other] of [
    ["network", "files"],
    ["files", "network"],
  ] as const) {
    it(`leaves the faults of ${other} alone when ${failing} fails, and has its own tried again`, async () => {
      const parts = joint();
      await parts.carrier.converge([net, file], moment);
      parts[failing].fails = new Error("no room");
      const refusals = await parts.carrier.converge([net, file], moment);
      const id = failing === "network" ? "net" : "file";
      assert.deepEqual(refusals, [{ faultId: id, reason: "ApplyFailed", message: "no room", isTransient: true }]);
      assert.deepEqual(parts[other].inForce, [other === "network" ? "net" : "file"]);
    });

    it(`tells of faults of ${failing} that could not be taken back, after ${other} did its part, until they are`, async () => {
      const parts = joint();
      await parts.carrier.converge([net, file], moment);
      parts[failing].fails = new NotTakenBackError(new Error("stuck"));
      const id = failing === "network" ? "net" : "file";
      const stuck = [{ faultId: id, reason: "RecoverFailed", message: "stuck", isTransient: true }];
      for (let round = 0; round < 2; round++) assert.deepEqual(await parts.carrier.converge([], moment), stuck);
      assert.deepEqual(parts[other].inForce, []);
      parts[failing].fails = undefined;
      assert.deepEqual(await parts.carrier.converge([], moment), []);
    });
  }

  it("calls nothing stuck where a part says that it took everything back", async () => {
    const { carrier, files } = joint();
    await carrier.converge([file], moment);
    files.fails = new Error("the new one failed");
    assert.deepEqual(await carrier.converge([], moment), []);
    files.fails = new NotTakenBackError(new Error("stuck"));
    assert.deepEqual(await carrier.converge([], moment), []);
  });

  it("asks each part for receipts of its own faults only, also after they are gone", async () => {
    const { carrier, network, files } = joint();
    await carrier.converge([net, file], moment);
    await carrier.converge([], moment);
    const receipts = await carrier.readReceipts(["net", "file", "never seen"]);
    assert.deepEqual(
      [...receipts].map(([id, { matched }]) => [id, matched]),
      [
        ["net", 3],
        ["file", 4],
      ],
    );
    assert.deepEqual([network.asked, files.asked], [[["net"]], [["file"]]]);
    await carrier.readReceipts([]);
    assert.equal((await carrier.readReceipts(["net"])).size, 0);
  });

  it("tells the receipts of one part when those of another cannot be read", async () => {
    const { carrier, network } = joint();
    await carrier.converge([net, file], moment);
    network.receiptError = new Error("no counters");
    assert.deepEqual([...(await carrier.readReceipts(["net", "file"])).keys()], ["file"]);
  });

  it("closes every part", async () => {
    const { carrier, network, files } = joint();
    network.fails = new Error("broken");
    await carrier.close();
    assert.ok(files.isClosed);
  });
});
