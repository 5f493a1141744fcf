import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { type IoFault, IoMistake_Filling } from "../../proto/gen/faults.ts";
import type { Database, RunningDatabase } from "./support/database.ts";
import { etcd } from "./support/etcd.ts";
import { LibfuseVolume } from "./support/libfuse-volume.ts";
import { postgresql } from "./support/postgresql.ts";
import { redis } from "./support/redis.ts";
import { sqlite } from "./support/sqlite.ts";
import { Volume } from "./support/volume.ts";

const databases: readonly Database[] = [sqlite("delete"), sqlite("wal"), postgresql, redis, etcd];
const drivers: Readonly<Record<string, () => Promise<Volume | LibfuseVolume>>> = {
  FUSE: () => Volume.open("/var/tmp"),
  ...(process.arch === "x64" && { libfuse: () => LibfuseVolume.open("/var/tmp") }),
};

interface Action {
  readonly name: string;
  readonly fault: Partial<IoFault>;
  /** What is read wrong may be written back wrong, by right: these databases are only asked then. */
  readonly isReadOnly: boolean;
  /** Whether a program may end by itself. PostgreSQL, Redis and etcd do, by design, when their logs cannot be written. */
  readonly mayEnd: boolean;
}

const actions: readonly Action[] = [
  {
    name: "latency",
    fault: { percent: 30, effect: { $case: "latency", value: { delayUs: 10_000 } } },
    isReadOnly: false,
    mayEnd: false,
  },
  {
    name: "fault",
    fault: { percent: 5, methods: ["read", "write", "fsync"], effect: { $case: "error", value: { errno: 5 } } },
    isReadOnly: false,
    mayEnd: true,
  },
  {
    name: "attrOverride",
    fault: { percent: 100, effect: { $case: "attributes", value: { nlink: 7, mtime: { seconds: 86_400, nanos: 1 } } } },
    isReadOnly: false,
    mayEnd: false,
  },
  {
    name: "mistake",
    fault: {
      percent: 20,
      methods: ["read"],
      effect: { $case: "mistake", value: { filling: IoMistake_Filling.RANDOM, maxOccurrences: 3, maxLength: 20 } },
    },
    isReadOnly: true,
    mayEnd: true,
  },
];

const DURING_MS = 4_000;
/** Within it all of them have written what they acknowledged to where it stays. */
const REST_MS = 1_500;

/** What a database is asked in the course of a test, and what it acknowledged. */
class Story {
  readonly acknowledged = new Set<number>();
  #key = 0;

  /** Why the database refused; undefined where it acknowledged. */
  async write(running: RunningDatabase): Promise<string | undefined> {
    this.#key += 1;
    const key = this.#key;
    return running.write(key).then(
      () => void this.acknowledged.add(key),
      (error: unknown) => String(error),
    );
  }

  async writeMany(running: RunningDatabase, count: number): Promise<void> {
    for (let at = 0; at < count; at += 1)
      assert.equal(await this.write(running), undefined, "A write was refused without a fault in force.");
  }

  async lost(running: RunningDatabase): Promise<readonly number[]> {
    const there = new Set(await running.read());
    return [...this.acknowledged].filter((key) => !there.has(key));
  }
}

function pathOf(database: Database, { isReadOnly, mayEnd }: Action): string {
  if (!mayEnd) return "";
  return (isReadOnly ? database.mistakenPath : undefined) ?? database.faultedPath ?? "";
}

async function disturb(running: RunningDatabase, story: Story, { isReadOnly }: Action): Promise<void> {
  const endMs = performance.now() + DURING_MS;
  while (performance.now() < endMs && running.end === undefined)
    if (isReadOnly) await running.read().catch(() => undefined);
    else await story.write(running);
}

for (const database of databases)
  for (const [driver, openVolume] of Object.entries(drivers))
    describe(`${database.name} on a volume served through ${driver}`, function () {
      this.timeout(180_000);
      let volume: Volume | LibfuseVolume;
      let running: RunningDatabase | undefined;

      before(() => database.prepare());
      beforeEach(async () => {
        volume = await openVolume();
      });
      afterEach(async () => {
        await volume.rule({});
        await running?.kill();
        running = undefined;
        await volume.close();
      });

      for (const action of actions)
        it(`loses nothing that it acknowledged before, during and after ${action.name}`, async () => {
          const story = new Story();
          await database.create(volume.path);
          const first = await database.start(volume.path);
          running = first;
          await story.writeMany(first, 60);

          if (action.isReadOnly) await sleep(REST_MS);
          await volume.rule({ fault: { ...action.fault, path: pathOf(database, action) } });
          await disturb(first, story, action);
          const counts = await volume.count();
          await volume.rule({});
          const seen = counts.flatMap(({ methods }) => methods).reduce((sum, { matched }) => sum + matched, 0);
          // Redis reads its files at its start alone.
          if (!(action.isReadOnly && database === redis)) assert.ok(seen > 0, "No operation of the database came under the fault.");

          await untilSettled(first, story);
          const end = first.end;
          if (end !== undefined) {
            assert.ok(action.mayEnd, `The database ended under ${action.name}: ${end}`);
            process.stderr.write(`${database.name} ended by itself under ${action.name}: ${end}\n`);
          } else await goOn(first, story);

          await first.kill();
          running = await database.start(volume.path);
          assert.deepEqual(await story.lost(running), [], "Acknowledged writes are missing after a SIGKILL of the database.");
          await story.writeMany(running, 10);
          await running.kill();
          assert.deepEqual(await database.check(volume.path), []);
          assert.deepEqual(await database.check(volume.plain), [], "The check through the volume and that on the plain folder differ.");
        });
    });

/** PostgreSQL may be on its way back from an end of its parts, or on its way out as that met the fault, too. */
async function untilSettled(running: RunningDatabase, story: Story): Promise<void> {
  for (let round = 0; round < 600 && running.end === undefined && (await story.write(running)) !== undefined; round += 1) await sleep(100);
}

/** The same process, after the fault. */
async function goOn(running: RunningDatabase, story: Story): Promise<void> {
  await story.writeMany(running, 20);
  assert.deepEqual(await story.lost(running), [], "Acknowledged writes are missing after the fault.");
  assert.equal(running.end, undefined);
}
