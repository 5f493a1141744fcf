import assert from "node:assert/strict";
import { closeSync, fstatSync, openSync, readdirSync, readSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { closeAll, Descriptor, openDescriptorSockets } from "../../agent/descriptors.ts";
import { LineReader, sendLine } from "../../agent/descriptor-lines.ts";

const countOpen = (): number => readdirSync("/proc/self/fd").length;

describe("descriptors over a socket", () => {
  const sockets = openDescriptorSockets();
  let folder: string;
  let ends: readonly [Descriptor, Descriptor];
  const signal = (): AbortSignal => AbortSignal.timeout(5000);
  const readerOf = (socket: Descriptor): LineReader<string> =>
    new LineReader(sockets, {
      socket: socket.number,
      parse: (line) => line,
      descriptorsWith: (line) => Number(/^\d+/.exec(line)?.[0] ?? 0),
    });
  /** An open file with this text. */
  function file(text: string): Descriptor {
    writeFileSync(join(folder, text), text);
    return new Descriptor(openSync(join(folder, text), "r"));
  }
  function textOf({ number }: Descriptor): string {
    const bytes = Buffer.alloc(100);
    return bytes.toString("utf8", 0, readSync(number, bytes, 0, bytes.length, 0));
  }

  beforeEach(async () => {
    folder = await mkdtemp("/tmp/squall-descriptors-");
    ends = sockets.pair();
  });
  afterEach(async () => {
    closeAll(ends);
    await rm(folder, { recursive: true });
  });

  it("arrive with the line that they were sent with, in order, however the lines are cut", async () => {
    const before = countOpen();
    const files = ["a", "b", "c"].map(file);
    const [one, other] = ends;
    const socket = one.number;
    await sendLine(sockets, { socket, line: "0 first\n", signal: signal() });
    await sendLine(sockets, { socket, line: "2 sec", descriptors: files.slice(0, 2), signal: signal() });
    await sendLine(sockets, { socket, line: "ond\n0 third\n", signal: signal() });
    await sendLine(sockets, { socket, line: "1 fourth\n", descriptors: files.slice(2), signal: signal() });
    const reader = readerOf(other);
    const lines = [];
    for (let count = 0; count < 4; count += 1) lines.push(await reader.next(signal()));
    assert.deepEqual(
      lines.map((line) => [line?.said, line?.descriptors.map(textOf)]),
      [
        ["0 first", []],
        ["2 second", ["a", "b"]],
        ["0 third", []],
        ["1 fourth", ["c"]],
      ],
    );
    closeAll(files);
    closeAll(lines.flatMap((line) => line?.descriptors ?? []));
    one.close();
    assert.equal(await reader.next(signal()), undefined);
    assert.equal(countOpen(), before - 1);
  });

  it("that nobody asked for are closed", async () => {
    const files = ["a", "b"].map(file);
    const [one, other] = ends;
    await sendLine(sockets, { socket: one.number, line: "0 none\n", descriptors: files, signal: signal() });
    closeAll(files);
    const before = countOpen();
    const reader = readerOf(other);
    assert.equal((await reader.next(signal()))?.said, "0 none");
    assert.equal(countOpen(), before + 2);
    reader.close();
    assert.equal(countOpen(), before);
  });

  it("are missed where a line says that there are more", async () => {
    const [one, other] = ends;
    await sendLine(sockets, { socket: one.number, line: "2 none\n", signal: signal() });
    await assert.rejects(readerOf(other).next(signal()), /2 descriptors should have come with a line, and 0 did/);
  });

  it("are not waited for beyond a line of 64 KiB", async () => {
    const [one, other] = ends;
    const ending = new AbortController();
    const sending = sendLine(sockets, { socket: one.number, line: "x".repeat(300_000), signal: ending.signal }).catch(() => undefined);
    await assert.rejects(readerOf(other).next(signal()), /longer than 65536 bytes/);
    ending.abort();
    await sending;
  });

  it("are closed once, though their number is another file's by then", () => {
    const first = file("a");
    first.close();
    const second = file("b");
    assert.equal(second.number, first.number);
    first.close();
    assert.equal(fstatSync(second.number).isFile(), true);
    closeSync(second.number);
  });

  it("come from a process that the kernel names", () => {
    assert.deepEqual(sockets.peerOf(ends[0].number), { pid: process.pid, uid: process.getuid?.() });
  });
});
