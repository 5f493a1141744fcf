import assert from "node:assert/strict";
import { noReceipt } from "../../../agent/held-fault.ts";
import { silentLog } from "../../../common/log.ts";
import type { Converged, TimedFault } from "../../../daemon/network/messages.ts";
import { createNetworkFaults, type NetworkFaults } from "../../../daemon/network/network-faults.ts";
import { SharedNetworkError } from "../../../daemon/network/open-network.ts";
import { type PodProcess, PodProcessError } from "../../../daemon/network/pod-process.ts";
import type { PlacedFault } from "../../../daemon/node-family.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { networkFault } from "../../support/network-faults.ts";

/** A process in a pod that behaves, until a test has it fail or end. */
class FakeProcess implements PodProcess {
  faults: readonly TimedFault[] = [];
  failure: PodProcessError | undefined;
  isAlive = true;
  isClosed = false;
  reads = 0;
  #tellChange = (): void => undefined;

  start = () => Promise.resolve();
  sweep = () => Promise.resolve();

  converge(faults: readonly TimedFault[]) {
    if (!this.isAlive) return Promise.reject(new PodProcessError("The process was ended by SIGKILL.", { isTakenBack: false }));
    if (this.failure !== undefined) return Promise.reject(this.failure);
    this.faults = faults;
    return Promise.resolve({
      refusals: [],
      resolved: faults.map(({ fault }): Converged["resolved"][number] => [fault.id, [{ name: "db", addresses: [] }]]),
    });
  }

  readReceipts() {
    this.reads += 1;
    return Promise.resolve(new Map(this.faults.map(({ fault }, index) => [fault.id, { ...noReceipt, matched: index + 1 }])));
  }

  onChange(callback: () => void): void {
    this.#tellChange = callback;
  }

  die(): void {
    this.isAlive = false;
    this.#tellChange();
  }

  close() {
    this.isClosed = true;
    return Promise.resolve();
  }
}

const placed = (id: string, podUid = "u1", sandbox = "s1"): PlacedFault => ({
  fault: { ...networkFault(id, []), target: { podUid, namespace: "shop", pod: podUid, container: "" } },
  container: { id: sandbox, podUid, namespace: "shop", pod: podUid, container: "", pid: 4711 },
});

describe("network faults of pods without a sidecar", () => {
  let clock: FakeClock;
  let processes: Map<string, FakeProcess[]>;
  let leftovers: readonly string[];
  let howToJoin: (podUid: string) => FakeProcess | undefined | Promise<FakeProcess>;
  let family: NetworkFaults;

  beforeEach(() => {
    clock = new FakeClock();
    processes = new Map();
    leftovers = [];
    howToJoin = () => new FakeProcess();
    family = createNetworkFaults({
      networks: {
        async join(podUid) {
          const inside = await howToJoin(podUid);
          if (inside !== undefined) processes.set(podUid, [...(processes.get(podUid) ?? []), inside]);
          return inside;
        },
        listLeftovers: () => Promise.resolve(leftovers),
      },
      missing: undefined,
      clock,
      log: silentLog,
    });
  });

  const converge = (...faults: readonly PlacedFault[]) => family.converge(faults, () => 1_000);
  const newest = (podUid = "u1"): FakeProcess => processes.get(podUid)?.at(-1) ?? assert.fail(`nobody joined ${podUid}`);

  it("have one process for each pod, which is told when each ends and goes with the last", async () => {
    assert.deepEqual(await converge(placed("a"), placed("b"), placed("c", "u2")), []);
    assert.deepEqual(
      newest().faults.map(({ fault, untilMs }) => [fault.id, untilMs]),
      [
        ["a", clock.monotonicMs() + 1_000],
        ["b", clock.monotonicMs() + 1_000],
      ],
    );
    const [first, second] = await Promise.all([family.receiptOf("a"), family.receiptOf("b")]);
    assert.deepEqual([first?.matched, second?.matched, newest().reads], [1, 2, 1]);
    assert.deepEqual(family.resolvedOf("a"), [{ name: "db", addresses: [] }]);
    await converge(placed("c", "u2"));
    assert.deepEqual([newest().isClosed, newest().faults, newest("u2").isClosed], [true, [], false]);
    assert.deepEqual([family.isFaulting("u1"), family.isFaulting("u2"), family.isBusy], [false, true, true]);
    await converge();
    assert.equal(family.isBusy, false);
  });

  it("are applied by another process where one died, and where the pod's sandbox was made anew", async () => {
    let changes = 0;
    family.onChange(() => (changes += 1));
    await converge(placed("a"));
    newest().die();
    assert.equal(changes, 1);
    await converge(placed("a"));
    assert.equal(processes.get("u1")?.length, 2);
    const old = newest();
    await converge(placed("a", "u1", "s2"));
    assert.deepEqual([old.isClosed, old.faults, newest().faults.length, processes.get("u1")?.length], [true, [], 1, 3]);
  });

  it("that cannot be taken back are told of, and taken back through the journal by another process", async () => {
    await converge(placed("a"));
    newest().failure = new PodProcessError("ipset: set is in use", { isTakenBack: false });
    howToJoin = () => assert.fail("nobody can join");
    const refusals = await converge();
    assert.deepEqual(
      refusals.map(({ faultId, reason, isTransient }) => [faultId, reason, isTransient]),
      [["a", "RecoverFailed", true]],
    );
    assert.equal(family.isBusy, true);
    howToJoin = () => new FakeProcess();
    assert.deepEqual(await converge(), []);
    assert.deepEqual([family.isBusy, newest().isClosed], [false, true]);
  });

  it("fail for a while where the process fails or the pod has just gone, and for good on the node's own network", async () => {
    const reasonsOf = async (...faults: readonly PlacedFault[]) =>
      (await converge(...faults)).map(({ faultId, reason, isTransient = false }) => [faultId, reason, isTransient]);
    const failing = new FakeProcess();
    failing.failure = new PodProcessError("No iptables works here.", { isTakenBack: true });
    howToJoin = () => failing;
    assert.deepEqual(await reasonsOf(placed("a")), [["a", "ApplyFailed", true]]);
    howToJoin = () => undefined;
    assert.deepEqual(await reasonsOf(placed("b", "u2")), [["b", "NotRunning", true]]);
    howToJoin = () => {
      throw new SharedNetworkError("The pod is on its node's network.");
    };
    assert.deepEqual(await reasonsOf(placed("c", "u3")), [["c", "HostNetwork", false]]);
  });

  it("are for as many pods at a time as the daemon has memory for", async () => {
    const many = Array.from({ length: 18 }, (_, index) => placed(`f${index}`, `u${index}`));
    const refused = await converge(...many);
    assert.deepEqual(
      refused.map(({ faultId, reason, isTransient }) => [faultId, reason, isTransient]),
      [
        ["f16", "TooManyPods", true],
        ["f17", "TooManyPods", true],
      ],
    );
    assert.deepEqual(
      (await converge(...many.slice(1))).map(({ faultId }) => faultId),
      ["f17"],
    );
  });

  it("are never swept by a recovery that comes in between", async () => {
    const joined = Promise.withResolvers<FakeProcess>();
    howToJoin = () => joined.promise;
    const applied = converge(placed("a"));
    leftovers = ["u1"];
    const recovered = family.recover();
    joined.resolve(new FakeProcess());
    await Promise.all([applied, recovered]);
    assert.deepEqual([processes.get("u1")?.length, newest().isClosed, newest().faults.length], [1, false, 1]);
  });

  it("of an earlier life are taken back, however many pods are in the way", async () => {
    leftovers = ["u1", "u2", "gone"];
    howToJoin = (podUid) => {
      if (podUid === "u1") throw new Error("the runtime does not answer");
      return podUid === "gone" ? undefined : new FakeProcess();
    };
    await family.recover();
    assert.deepEqual([[...processes.keys()], newest("u2").isClosed, family.isBusy], [["u2"], true, false]);
  });
});
