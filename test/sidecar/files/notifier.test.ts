import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expireName, invalidateNode } from "../../../sidecar/files/kernel/protocol.ts";
import { Notifier } from "../../../sidecar/files/notifier.ts";

describe("Notifier", () => {
  let folder: string;
  let fd: number;
  let notifier: Notifier;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "squall-notifier-"));
    fd = openSync(join(folder, "sent"), "w");
    notifier = new Notifier(fd);
  });
  afterEach(() => {
    closeSync(fd);
    rmSync(folder, { recursive: true });
  });

  const sent = (): Buffer => readFileSync(join(folder, "sent"));
  const messages = Buffer.concat([invalidateNode(7), expireName(1, "name"), invalidateNode(9)]);

  it("sends messages one by one, and counts those that are awaited", async () => {
    await notifier.send(messages, { isAwaited: true });
    assert.deepEqual([sent(), notifier.written], [messages, 3]);
    await notifier.send(messages, { isAwaited: false });
    assert.deepEqual([sent(), notifier.written], [Buffer.concat([messages, messages]), 3]);
  });

  it("goes on after one that the kernel does not take, and sends nothing once it is closed", async () => {
    const full = openSync("/dev/full", "w");
    const refused = new Notifier(full);
    await refused.send(messages, { isAwaited: true });
    assert.equal(refused.written, 3);
    closeSync(full);
    await notifier.close();
    await notifier.send(messages, { isAwaited: true });
    assert.equal(sent().length, 0);
  });
});
