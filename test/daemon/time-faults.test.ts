import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { silentLog } from "../../common/log.ts";
import { createTimeFaults } from "../../daemon/time-faults.ts";
import type { PlacedFault } from "../../daemon/node-family.ts";
import type { Skewer } from "../../daemon/time/skewer.ts";
import type { ProcessIdentity } from "../../daemon/time/target-process.ts";
import { FakeClock } from "../support/fake-clock.ts";

describe("clocks of containers", () => {
  const children: ChildProcess[] = [];
  const start = (): number => {
    const child = spawn("/bin/sleep", ["60"], { stdio: "ignore" });
    children.push(child);
    return child.pid ?? assert.fail("nothing was started");
  };
  afterEach(() => {
    for (const child of children.splice(0)) child.kill("SIGKILL");
  });

  /** Skews in memory; processes in `cannotUndo` stay as they are. */
  function setUp() {
    const skewed = new Map<number, bigint>();
    const cannotUndo = new Set<number>();
    const members = new Map<number, readonly number[] | Error>();
    const skewer: Skewer = {
      apply(processes, { offsetsNs }) {
        for (const { pid } of processes) skewed.set(pid, offsetsNs.get(0) ?? 0n);
        return Promise.resolve(processes.map((process) => ({ ...process, is: "done" as const })));
      },
      undo(processes) {
        const undo = (process: ProcessIdentity) => {
          if (cannotUndo.has(process.pid)) return { ...process, is: "failed" as const, reason: "EIO" };
          skewed.delete(process.pid);
          return { ...process, is: "done" as const };
        };
        return Promise.resolve(processes.map(undo));
      },
      find: () => Promise.resolve([]),
    };
    const processesOf = (pid: number): Promise<readonly number[]> => {
      const found = members.get(pid) ?? [pid];
      return found instanceof Error ? Promise.reject(found) : Promise.resolve(found);
    };
    const family = createTimeFaults({ opened: { missing: undefined, skewer }, processesOf, clock: new FakeClock(), log: silentLog });
    return { family, skewed, cannotUndo, members };
  }

  const placed = (id: string, pid: number, seconds = 3600): PlacedFault => ({
    fault: {
      id,
      experimentUid: "e",
      experiment: "TimeChaos/shop/x",
      leaseMs: 60_000,
      family: { $case: "time", value: { seconds, nanos: 0, clockIds: [0] } },
    },
    container: { id: `c${pid}`, podUid: "u", namespace: "shop", pod: "a", container: "app", pid },
  });
  const left = (): number => 60_000;

  it("add up on one container, and go with the last fault", async () => {
    const { family, skewed } = setUp();
    const pid = start();
    assert.deepEqual(await family.converge([placed("one", pid, 3600), placed("two", pid, -60)], left), []);
    assert.equal(skewed.get(pid), 3_540_000_000_000n);
    await family.converge([placed("two", pid, -60)], left);
    assert.equal(skewed.get(pid), -60_000_000_000n);
    await family.converge([], left);
    assert.equal(skewed.size, 0);
  });

  it("are put right in children, too, that came since the last look", async () => {
    const { family, skewed, members } = setUp();
    const [pid, child] = [start(), start()];
    await family.converge([placed("one", pid)], left);
    // A fork inherits what its parent has.
    skewed.set(child, skewed.get(pid) ?? 0n);
    members.set(pid, [pid, child]);
    assert.deepEqual(await family.converge([], left), []);
    assert.equal(skewed.size, 0);
  });

  it("of one container that cannot be looked at keep nobody else's from being put right", async () => {
    const { family, skewed, members } = setUp();
    const [broken, well] = [start(), start()];
    await family.converge([placed("one", well)], left);
    members.set(broken, new Error("Process is not in its group."));
    const refusals = await family.converge([placed("two", broken)], left);
    assert.deepEqual(
      refusals.map(({ faultId, reason, isTransient }) => [faultId, reason, isTransient]),
      [["two", "SkewFailed", true]],
    );
    assert.equal(skewed.size, 0);
  });

  it("that cannot be put right are told, until they are", async () => {
    const { family, skewed, cannotUndo } = setUp();
    const pid = start();
    await family.converge([placed("one", pid)], left);
    cannotUndo.add(pid);
    const reasons = async (): Promise<readonly string[]> =>
      (await family.converge([], left)).map(({ faultId, reason }) => `${faultId} ${reason}`);
    assert.deepEqual(await reasons(), ["one RecoverFailed"]);
    assert.deepEqual(await reasons(), ["one RecoverFailed"]);
    cannotUndo.clear();
    assert.deepEqual(await reasons(), []);
    assert.equal(skewed.size, 0);
  });

  it("are not touched under a pid that is another process's by now", async () => {
    const { family, skewed } = setUp();
    const gone = placed("one", 2 ** 22 - 1);
    const [refusal] = await family.converge([gone], left);
    assert.deepEqual([refusal?.reason, refusal?.isTransient], ["SkewFailed", true]);
    assert.equal(skewed.size, 0);
  });
});
