import assert from "node:assert/strict";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeWhole } from "../../lab/files.ts";
import { requestFile, serveRequests } from "../../lab/node/requests.ts";
import { CommandError } from "../../lab/run.ts";
import { type RunningNode, runOnNode } from "../../lab/run-on-node.ts";

describe("runOnNode", () => {
  let node: RunningNode;
  let serving: Promise<void>;
  let stop: AbortController;
  beforeEach(async () => {
    node = { name: "uml", requests: await mkdtemp(join(tmpdir(), "squall-test-")) };
    stop = new AbortController();
    serving = serveRequests(node.requests, stop.signal);
  });
  afterEach(async () => {
    stop.abort();
    await serving;
    await rm(node.requests, { recursive: true });
  });

  it("returns what the program wrote, word for word, and leaves no file", async () => {
    assert.equal(await runOnNode(node, ["printf", "%s", "two words; 'quoted'"]), "two words; 'quoted'");
    assert.deepEqual(await readdir(node.requests), []);
  });

  it("hands on how a program failed", async () => {
    await assert.rejects(
      runOnNode(node, ["ls", "/squall-no-such-folder"]),
      (error) => error instanceof CommandError && error.exitCode === 2 && error.message.includes("/squall-no-such-folder"),
    );
    await assert.rejects(
      runOnNode(node, ["squall-no-such-program"]),
      (error) => error instanceof CommandError && error.exitCode === undefined,
    );
  });

  it("does not have one request wait for another, and ends one that takes too long", async () => {
    const slow = assert.rejects(runOnNode(node, ["sleep", "60"], { timeoutMs: 400 }), /killed by SIGKILL/);
    assert.equal(await runOnNode(node, ["echo", "quick"]), "quick\n");
    await slow;
  });

  it("goes on after a request that nobody can read", async () => {
    await writeWhole(requestFile(node.requests, "broken"), "{");
    assert.equal(await runOnNode(node, ["echo", "next"]), "next\n");
    assert.deepEqual(await readdir(node.requests), ["broken.answer"]);
  });
});
