import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createExecutor } from "../../agent/executor.ts";
import { JournalError, openJournal } from "../../agent/journal.ts";
import { recoverLeftovers } from "../../agent/leftovers.ts";
import { silentLog } from "../../common/log.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { createFakeFamily, FakeKernel } from "../support/fake-family.ts";

describe("the executor and its journal", () => {
  let folder: string;
  let path: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "squall-journal-"));
    path = join(folder, "journal");
  });
  afterEach(() => rm(folder, { recursive: true }));

  async function setUp() {
    const kernel = new FakeKernel(new FakeClock());
    const family = createFakeFamily(kernel);
    const journal = await openJournal(path);
    return { kernel, family, journal, executor: createExecutor({ family, programs: kernel, journal, log: silentLog }) };
  }
  const noClock = (): undefined => undefined;
  const faults = (...ids: readonly string[]) =>
    ids.map((id) => ({ id, experimentUid: "e", experiment: "x", leaseMs: 1, remainingMs: undefined, family: undefined }));

  it("has each undo on disk before its step runs", async () => {
    const { kernel, family, executor } = await setUp();
    const run = kernel.run.bind(kernel);
    const onDisk: string[] = [];
    kernel.run = async (command) => {
      if (command.argv[0] !== "clock")
        onDisk.push(`${command.argv[0]}: ${(await readFile(path, "utf8")).includes(`"argv":["${command.argv[0]}"]`)}`);
      return run(command);
    };
    await executor.converge(family.plan(faults("a")), noClock);
    assert.deepEqual(onDisk, ["sets: true", "rules: true", "jump: true"]);
  });

  for (const step of ["sets", "clock", "rules", "jump"]) {
    it(`leaves nothing behind when ${step} fails, nor when the process dies there`, async () => {
      const { kernel, family, executor } = await setUp();
      kernel.failOn = step;
      const clock = () => family.planClock(faults("a").map((fault) => ({ fault, remainingMs: 1 })));
      await assert.rejects(executor.converge(family.plan(faults("a")), clock));
      assert.equal(kernel.state.size, 0);

      // The process dies instead: the kernel keeps what was done, and the next life finds the journal.
      family.sweep = () => Promise.reject(new Error("dead"));
      await executor.converge(family.plan(faults("a")), clock).catch(() => undefined);
      kernel.failOn = undefined;
      const next = await setUp();
      for (const entry of kernel.state) next.kernel.state.add(entry);
      await recoverLeftovers({ journal: next.journal, programs: next.kernel, sweep: () => next.family.sweep(), log: silentLog });
      assert.equal(next.kernel.state.size, 0);
    });
  }

  it("replaces a plan without taking it back first, and clears what nothing needs any more last", async () => {
    const { kernel, family, executor } = await setUp();
    await executor.converge(family.plan(faults("a")), noClock);
    kernel.commands.length = 0;
    await executor.converge(family.plan(faults("b")), noClock);
    // The jump is the same in both, and is never touched.
    assert.deepEqual(kernel.commands, ["sets", "rules", "sets"]);
    assert.deepEqual([...kernel.state].toSorted(), ["jump", "rule b", "set b"]);
  });

  it("does nothing for a plan that is in force already", async () => {
    const { kernel, family, executor } = await setUp();
    await executor.converge(family.plan(faults("a")), noClock);
    kernel.commands.length = 0;
    await executor.converge(family.plan(faults("a")), noClock);
    assert.deepEqual(kernel.commands, []);
  });

  it("refuses to act when the journal cannot be written", async () => {
    await writeFile(path, "");
    const family = createFakeFamily(new FakeKernel(new FakeClock()));
    const kernel = new FakeKernel(new FakeClock());
    const journal = await openJournal(join(path, "below-a-file")).catch(() => undefined);
    const broken = journal ?? {
      leftovers: [],
      add: () => Promise.reject(new JournalError("/journal", "written", new Error("no"))),
      clear: () => Promise.resolve(),
    };
    const executor = createExecutor({ family, programs: kernel, journal: broken, log: silentLog });
    await assert.rejects(executor.converge(family.plan(faults("a")), noClock), JournalError);
    assert.deepEqual(kernel.commands, []);
  });

  it("reads a journal whose last line was cut off", async () => {
    await writeFile(path, '{"argv":["sets"],"stdin":"del set a\\n"}\n{"argv":["ru');
    assert.deepEqual((await openJournal(path)).leftovers, [{ argv: ["sets"], stdin: "del set a\n" }]);
  });
});
