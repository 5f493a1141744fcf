import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { waitUntil } from "../../lab/wait-until.ts";
import { choosePoints } from "../support/seeded.ts";
import type { Fate } from "./support/api-proxy.ts";
import { CrashShop, patience } from "./support/crash-shop.ts";

/**
 * The crash matrix of the controller at a real API server: a clean run tells which writes an experiment takes from its creation to its end; then
 * each of them meets each kind of trouble. Afterwards nothing may be in force, the record must be true while it is, and the object must go when
 * it is deleted. `npm test` tries some points, others each day; `npm run test:crash` all of them.
 */
const fates = ["lost", "unanswered", "slow", 409, 429, 500, 503] as const satisfies readonly Fate[];
const troubles = [
  ...fates,
  "killed before",
  "killed after",
  "two leaders",
  // watches that say nothing for a while, break, cannot be resumed, or lose what happens in two seconds, from this write on
  "stale",
  "cut",
  "expired",
  "unseen",
  // somebody takes the finalizer away, and at once there is another experiment of the same name, or other pods of the same names
  "recreated",
  "pods replaced",
] as const;
type Trouble = (typeof troubles)[number];

const BLIND_MS = 2_000;

describe("whatever goes wrong between controller and API server", () => {
  let shop: CrashShop;
  let number = 0;

  before(async () => {
    shop = await CrashShop.open();
  });
  after(() => shop.close());

  /** Brings the trouble on; gives what becomes of the write, and what to wait for. */
  function begin(trouble: Trouble, name: string): { readonly fate: Fate; readonly ends: Promise<void> } {
    const { proxy } = shop;
    const over = (end: () => void): Promise<void> => sleep(BLIND_MS).then(end);
    const ends = ((): Promise<void> => {
      switch (trouble) {
        case "killed before":
        case "killed after":
          return shop.replaceLeader();
        case "two leaders":
          return shop.doubleLeader();
        case "stale":
          proxy.holdWatches();
          return over(() => proxy.releaseWatches());
        case "unseen":
          proxy.blindWatches();
          return over(() => proxy.expireWatches());
        case "cut":
          return Promise.resolve(proxy.cutWatches());
        case "expired":
          return Promise.resolve(proxy.expireWatches());
        case "recreated":
          return shop.recreate(name);
        case "pods replaced":
          return shop.replacePods();
        case "lost":
        case "unanswered":
        case "slow":
        case 409:
        case 429:
        case 500:
        case 503:
          return Promise.resolve();
      }
    })();
    if (trouble === "killed before") return { fate: "lost", ends };
    return { fate: fates.find((fate) => fate === trouble) ?? "pass", ends };
  }

  /** Plays an experiment from its creation to its end, with trouble at one write; gives the number of writes. */
  async function play(trouble: Trouble | undefined, at: number): Promise<number> {
    const name = `cut-${(number += 1)}`;
    let writes = 0;
    let ends = Promise.resolve();
    const strike = (): Fate => {
      if (trouble === undefined) return "pass";
      const begun = begin(trouble, name);
      ends = begun.ends;
      return begun.fate;
    };
    const isAfter = trouble === "killed after";
    shop.proxy.onWrite = () => ((writes += 1) === at && !isAfter ? strike() : "pass");
    shop.proxy.onWritten = () => {
      if (writes === at && isAfter) strike();
    };
    const unrecorded: string[] = [];
    const checks: Promise<void>[] = [];
    shop.agents.watch = ({ targetUid, faults: [fault] }) => {
      if (fault === undefined) return;
      checks.push(
        shop.find(name).then((found) => {
          // one that was deleted or replaced meanwhile was on record before
          if (found?.metadata.uid !== fault.experimentUid || found.status.experiment.desiredPhase !== "Run") return;
          const record = found.status.experiment.containerRecords?.find(({ targetUID }) => targetUID === targetUid);
          if (record === undefined || (record.phase === "Not Injected" && record.reason !== "TargetGone")) unrecorded.push(targetUid);
        }),
      );
    };
    await shop.create(name);
    await shop.untilTrue(name);
    await ends;
    await end(name);
    // events may still be on their way: they belong to this experiment, and so does the trouble with them
    await sleep(200);
    shop.proxy.onWrite = () => "pass";
    shop.proxy.onWritten = () => undefined;
    await ends;
    if ((await shop.find(name)) !== undefined) await end(name);
    await waitUntil("nothing is in force", () => shop.inForce.length === 0 || shop.inForce.join(" "), patience);
    await Promise.all(checks);
    assert.deepEqual(unrecorded, [], "something was faulted that was not on record");
    assert.equal(shop.unconfirmed, 0);
    return writes;
  }

  /** Deletes an experiment whose record is true, and waits until it is gone. One that takes its place is there afterwards. */
  async function end(name: string): Promise<void> {
    await shop.untilTrue(name);
    const uid = (await shop.find(name))?.metadata.uid;
    await shop.delete(name);
    await waitUntil(`${name} is gone`, async () => (await shop.find(name))?.metadata.uid !== uid, patience);
  }

  it("an experiment goes as it should", async function () {
    this.timeout(2 * 3_600_000);
    await shop.startLeading();
    const writes = await play(undefined, 0);
    assert.ok(writes >= 4 && writes <= 14, `${writes} writes`);
    const points = troubles.flatMap((trouble) => Array.from({ length: writes }, (_, index) => ({ trouble, at: index + 1 })));
    const { chosen, recipe } = choosePoints(points, { short: 16 });
    for (const { trouble, at } of chosen) {
      try {
        await play(trouble, at);
      } catch (error) {
        throw new Error(`${trouble} at write ${at} of ${writes}`, { cause: error });
      }
    }
    process.stdout.write(`      ${chosen.length} of ${points.length} points, nothing left (${recipe})\n`);
  });
});
