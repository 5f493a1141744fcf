import assert from "node:assert/strict";
import { CommandError, findPrograms } from "../../agent/programs.ts";

/** A program of the list that needs no rights to read an empty batch. */
const argv = ["tc", "-batch", "-"] as const;

describe("programs", () => {
  const programs = findPrograms();
  before(function () {
    if (!programs.has("tc")) this.skip();
  });

  it("run started ahead as they do otherwise", async () => {
    programs.startAhead(argv);
    await assert.rejects(programs.run({ argv, stdin: "nonsense\n" }), (error: unknown) => {
      assert.ok(error instanceof CommandError);
      assert.match(error.message, /^tc -batch - exited with 1: Object "nonsense" is unknown/);
      return true;
    });
    assert.deepEqual(await programs.run({ argv, stdin: "\n" }), { stdout: "", stderr: "" });
  });

  it("end when they were started ahead for nothing", async () => {
    const cancel = programs.startAhead(argv);
    cancel();
    cancel();
    assert.deepEqual(await programs.run({ argv, stdin: "\n" }), { stdout: "", stderr: "" });
  });
});
