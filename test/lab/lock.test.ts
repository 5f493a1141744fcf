import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { withLock } from "../../lab/lock.ts";

describe("withLock", () => {
  let folder: string;
  let file: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "squall-test-"));
    file = join(folder, "below", "lock");
  });
  afterEach(() => rm(folder, { recursive: true }));

  it("lets one in at a time", async () => {
    const order: string[] = [];
    const firstIsIn = Promise.withResolvers<void>();
    const letFirstGo = Promise.withResolvers<void>();
    const first = withLock(file, async () => {
      order.push("first in");
      firstIsIn.resolve();
      await letFirstGo.promise;
      order.push("first out");
    });
    await firstIsIn.promise;
    const second = withLock(
      file,
      async () => void order.push("second in"),
      (owner) => {
        order.push(owner === process.pid ? "second waits" : "wrong owner");
        letFirstGo.resolve();
      },
    );
    await Promise.all([first, second]);
    assert.deepEqual(order, ["first in", "second waits", "first out", "second in"]);
  });

  it("takes over a lock whose owner has died, also when its id was given to another process", async () => {
    await withLock(file, () => Promise.resolve());
    // Process 1 lives, but did not start at that moment.
    await writeFile(file, "1 987654321987654321");
    assert.equal(await withLock(file, () => Promise.resolve("done")), "done");
  });

  it("is open again after a failure, and leaves no file", async () => {
    await assert.rejects(
      withLock(file, () => Promise.reject(new Error("broken"))),
      /broken/,
    );
    assert.deepEqual(await readdir(join(folder, "below")), []);
  });
});
