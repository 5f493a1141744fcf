import assert from "node:assert/strict";
import { silentLog } from "../../../common/log.ts";
import { SharedNetworkError } from "../../../daemon/network/open-network.ts";
import { type Sweeping, startSweeping } from "../../../daemon/network/sweeping.ts";
import { FakeClock } from "../../support/fake-clock.ts";

const LOOK_MS = 30_000;

describe("the sweeping of pods whose sidecar is gone", () => {
  let clock: FakeClock;
  let without: string[];
  let running: Set<string>;
  let faulted: Set<string>;
  let swept: string[];
  let recoveries: number;
  let failure: Error | undefined;
  let sweeping: Sweeping;

  beforeEach(() => {
    clock = new FakeClock();
    [without, running, faulted, swept, recoveries, failure] = [[], new Set(), new Set(), [], 0, undefined];
    sweeping = startSweeping({
      runtime: {
        listWithout: () => Promise.resolve(without.map((podUid) => ({ podUid, namespace: "shop", pod: podUid }))),
        find: ({ podUid, container }) =>
          Promise.resolve(
            running.has(podUid) ? { podUid, container, id: "1", namespace: "shop", pod: podUid, pid: 4711, startedAtMs: 0 } : undefined,
          ),
      },
      networks: {
        async sweep(podUid, isDue) {
          if (!(await isDue())) return false;
          if (failure !== undefined) throw failure;
          swept.push(podUid);
          return true;
        },
      },
      faults: {
        isFaulting: (podUid) => faulted.has(podUid),
        recover() {
          recoveries += 1;
          return Promise.resolve();
        },
      },
      clock,
      log: silentLog,
    });
  });
  afterEach(() => sweeping.close());

  it("takes two looks in a row, and happens once", async () => {
    without = ["a"];
    await clock.advance(LOOK_MS);
    assert.deepEqual(swept, []);
    await clock.advance(LOOK_MS);
    assert.deepEqual(swept, ["a"]);
    await clock.advance(10 * LOOK_MS);
    assert.deepEqual([swept, recoveries], [["a"], 12]);
  });

  it("spares pods whose sidecar was back in between, or is at the last moment", async () => {
    without = ["a", "b"];
    await clock.advance(LOOK_MS);
    without = ["b"];
    running.add("b");
    await clock.advance(LOOK_MS);
    without = ["a"];
    await clock.advance(LOOK_MS);
    assert.deepEqual(swept, []);
  });

  it("happens again where the sidecar came back and went again", async () => {
    without = ["a"];
    await clock.advance(2 * LOOK_MS);
    without = [];
    await clock.advance(LOOK_MS);
    without = ["a"];
    await clock.advance(2 * LOOK_MS);
    assert.deepEqual(swept, ["a", "a"]);
  });

  it("is tried again after a failure, but not where the network is the node's", async () => {
    without = ["a"];
    failure = new Error("ipset: set is in use");
    await clock.advance(2 * LOOK_MS);
    failure = undefined;
    await clock.advance(LOOK_MS);
    assert.deepEqual(swept, ["a"]);
    without = ["b"];
    failure = new SharedNetworkError("The pod is on its node's network.");
    await clock.advance(2 * LOOK_MS);
    failure = undefined;
    await clock.advance(LOOK_MS);
    assert.deepEqual(swept, ["a"]);
  });

  it("leaves pods alone that the daemon itself faults", async () => {
    without = ["a"];
    faulted.add("a");
    await clock.advance(3 * LOOK_MS);
    assert.deepEqual(swept, []);
  });
});
