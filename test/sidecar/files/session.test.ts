import assert from "node:assert/strict";
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, readSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import type { Descriptor } from "../../../agent/descriptors.ts";
import { createSharedMemory } from "../../../agent/shared-memory.ts";
import { type CompiledFault, FaultLayer } from "../../../sidecar/files/fault-layer.ts";
import { AUTO_INVAL_DATA, expireName, fopen, invalidateNode, op } from "../../../sidecar/files/kernel/protocol.ts";
import { RequestsInFlight } from "../../../sidecar/files/kernel/requests-in-flight.ts";
import { Session } from "../../../sidecar/files/kernel/session.ts";
import { openLibc } from "../../../sidecar/files/libc.ts";
import { openPassthrough } from "../../../sidecar/files/passthrough.ts";

/** What `read` and `write` below ask for. */
const FIRST_BYTE = { start: 0, end: 1 };

describe("Session", () => {
  let base: string;
  let fds: readonly [folder: number, sink: number];
  let bugs: unknown[];
  let session: Session;
  let faults: FaultLayer;
  let notified: readonly Buffer[];
  let pins: number[];
  let memory: Descriptor;
  let requests: RequestsInFlight;

  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), "squall-session-"));
    writeFileSync(join(base, "f"), "data");
    fds = [openSync(base, "r"), openSync(join(tmpdir(), `squall-answers-${process.pid}`), "w+")];
    bugs = [];
    notified = [];
    pins = [];
    memory = createSharedMemory("test");
    faults = new FaultLayer({ nowMs: () => 0, random: () => 0 });
    session = open({ isShared: false });
  });

  function open({ isShared, fuse = fds[1] }: { readonly isShared: boolean; readonly fuse?: number }): Session {
    const libc = openLibc();
    requests = new RequestsInFlight(libc, memory.number);
    return new Session({
      libc,
      fuse,
      requests,
      files: openPassthrough({ libc, folder: fds[0], maxDescriptors: 256 }),
      faults,
      epoch: 1,
      init: undefined,
      isShared,
      onInit: () => undefined,
      isAnyWaiting: () => true,
      onSync: () => undefined,
      onNotify: (messages) => {
        notified = [...notified, ...messages];
      },
      onPin: (node) => pins.push(node),
      onBug: (error) => bugs.push(error),
      nowMs: () => 0,
      random: () => 0,
    });
  }

  afterEach(() => {
    for (const fd of fds) closeSync(fd);
    memory.close();
    rmSync(base, { recursive: true, force: true });
    rmSync(join(tmpdir(), `squall-answers-${process.pid}`));
  });

  /** Has a request served, and returns the body of its answer. */
  function ask(code: number, node: number, body: Buffer): Buffer {
    const { request } = requests;
    request.fill(0, 0, 40);
    request.writeUInt32LE(40 + body.length, 0);
    request.writeUInt32LE(code, 4);
    request.writeUInt32LE(node, 16);
    body.copy(request, 40);
    const start = statSync(`/proc/self/fd/${fds[1]}`).size;
    session.serve(40 + body.length);
    const answer = Buffer.alloc(256);
    const length = readSync(fds[1], answer, 0, answer.length, start);
    assert.equal(answer.readInt32LE(4), 0);
    return answer.subarray(16, length);
  }

  /** Opens the file for reading and writing; the kernel's own flags of it come with the handle. */
  function openFile(node: number): { readonly handle: Buffer; readonly flags: number } {
    const answer = ask(op.OPEN, node, Buffer.from([2, 0, 0, 0, 0, 0, 0, 0]));
    return { handle: answer.subarray(0, 8), flags: answer.readUInt32LE(8) };
  }

  function writing(handle: Buffer, bytes: number, { start = 0, isPastCache = false } = {}): Buffer {
    const body = Buffer.alloc(40 + bytes);
    handle.copy(body, 0);
    body.writeUInt32LE(start, 8);
    body.writeUInt32LE(bytes, 16);
    if (isPastCache) body.writeUInt32LE(2, 20);
    body.writeUInt32LE(2, 32);
    return body;
  }

  function write(node: number, handle: Buffer, bytes = 1): void {
    assert.equal(ask(op.WRITE, node, writing(handle, bytes)).readUInt32LE(0), bytes);
  }

  function read(node: number, handle: Buffer): void {
    const body = Buffer.alloc(40);
    handle.copy(body);
    body.writeUInt32LE(1, 16);
    ask(op.READ, node, body);
  }

  const watch = (method: string, percent = 0): readonly CompiledFault[] =>
    faults.rule([
      {
        id: "watch",
        remainingMs: 1_000,
        io: {
          volume: "data",
          mountPath: "/data",
          subPath: "",
          path: "",
          methods: [method],
          percent, // 0: it never hits, and might
          effect: { $case: "latency", value: { delayUs: 1 } },
        },
      },
    ]);

  /** What the kernel is to drop. */
  function dropFor(changed: readonly CompiledFault[], onSeen: () => void = () => undefined): readonly Buffer[] {
    notified = [];
    session.onRulesChanged(changed, { isNew: true, onSeen });
    return notified;
  }

  /** All that a kernel can offer. */
  const offered = Buffer.from([7, 0, 0, 0, 41, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);

  it("has the kernel look for changes by others where there may be some", () => {
    assert.equal(ask(op.INIT, 0, offered).readUInt32LE(12) & AUTO_INVAL_DATA, 0);
    session = open({ isShared: true });
    assert.equal(ask(op.INIT, 0, offered).readUInt32LE(12) & AUTO_INVAL_DATA, AUTO_INVAL_DATA);
  });

  it("has the kernel take a name for absent where nobody else can make it appear, until a fault comes", () => {
    ask(op.INIT, 0, offered);
    const answer = ask(op.LOOKUP, 1, Buffer.from("none\0"));
    assert.deepEqual([answer.readUInt32LE(0), answer.readUInt32LE(16)], [0, 1]);
    assert.deepEqual(dropFor(watch("lookup")).at(-1), expireName(1, "none"));
    assert.throws(() => ask(op.LOOKUP, 1, Buffer.from("none\0")), /-2/);
    faults.rule([]);
    session = open({ isShared: true });
    ask(op.INIT, 0, offered);
    assert.throws(() => ask(op.LOOKUP, 1, Buffer.from("none\0")), /-2/);
  });

  function requestOf(unique: number, code: number, node: number, body: Buffer): Buffer {
    const request = Buffer.alloc(40 + body.length);
    request.writeUInt32LE(request.length, 0);
    request.writeUInt32LE(code, 4);
    request.writeUInt32LE(unique, 8);
    request.writeUInt32LE(node, 16);
    body.copy(request, 40);
    return request;
  }

  function makingFolder(unique: number, name: string, parent = 1): Buffer {
    const body = Buffer.from(`\0\0\0\0\0\0\0\0${name}\0`);
    body.writeUInt32LE(0o755, 0);
    return requestOf(unique, op.MKDIR, parent, body);
  }

  it("carries out what an earlier server had read, done already or not, and answers it by its own number", () => {
    for (const [unique, name] of [
      [7, "made"],
      [9, "new"],
    ] as const)
      requests.hold(makingFolder(unique, name));
    mkdirSync(join(base, "made"));
    session.resume();
    assert.ok(statSync(join(base, "new")).isDirectory());
    const answers = readFileSync(`/proc/self/fd/${fds[1]}`);
    const bytes = answers.readUInt32LE(0);
    for (const [at, unique] of [
      [0, 7],
      [bytes, 9],
    ] as const)
      assert.deepEqual([answers.readInt32LE(at + 4), answers.readBigUInt64LE(at + 8)], [0, BigInt(unique)]);
    assert.equal(answers.length, 2 * bytes);
    assert.deepEqual([...requests.lost()], []);
  });

  it("knows what an earlier server had told already, and keeps nothing open for an answer that is not taken any more", () => {
    mkdirSync(join(base, "folder"));
    const [folder, file] = [statSync(join(base, "folder")).ino, statSync(join(base, "f")).ino];
    requests.hold(requestOf(7, op.OPEN, file, Buffer.alloc(8)));
    requests.hold(requestOf(9, op.OPENDIR, folder, Buffer.alloc(8)));
    requests.hold(requestOf(11, op.LOOKUP, 1, Buffer.from("folder\0")));
    const full = openSync("/dev/full", "w"); // takes nothing, like a kernel that does not wait
    session = open({ isShared: false, fuse: full });
    const before = readdirSync("/proc/self/fd").length;
    session.resume();
    assert.equal(readdirSync("/proc/self/fd").length, before);
    const request = makingFolder(13, "below", folder);
    request.copy(requests.request);
    session.serve(request.length);
    closeSync(full);
    assert.ok(statSync(join(base, "folder/below")).isDirectory());
  });

  it("keeps one place for each request that is delayed again, whenever it is killed", () => {
    requests.hold(makingFolder(7, "held"));
    makingFolder(9, "last").copy(requests.request);
    watch("mkdir", 100);
    const lostNow = (): readonly (readonly [number, number])[] =>
      [...new RequestsInFlight(openLibc(), memory.number).lost()].map(({ request }) => [request.readUInt32LE(8), request.readUInt32LE(12)]);
    session.resume();
    assert.deepEqual(lostNow(), [
      [7, 0],
      [9, 0],
    ]);
    assert.throws(() => statSync(join(base, "held")), /ENOENT/);
    dropFor(faults.rule([]));
    assert.ok(statSync(join(base, "held")).isDirectory() && statSync(join(base, "last")).isDirectory());
    assert.deepEqual(lostNow(), []);
  });

  it("has data dropped of a file that is written to, where an older kernel would keep them from a fault of reads", () => {
    const asOfLinux61 = Buffer.from(offered);
    asOfLinux61.writeUInt32LE(1 << 3, 16);
    ask(op.INIT, 0, asOfLinux61);
    const node = ask(op.LOOKUP, 1, Buffer.from("f\0")).readUInt32LE(0);
    watch("read");
    const { handle } = openFile(node);
    write(node, handle); // of a page that it does not have
    assert.deepEqual(notified, []);
    write(node, handle, 5_000);
    assert.deepEqual(notified, [invalidateNode(node, { start: 0, end: 4_096 })]);
  });

  const reading = (unique: number, node: number, start: number, bytes: number): Buffer => {
    const body = Buffer.alloc(40);
    body.writeUInt32LE(start, 8);
    body.writeUInt32LE(bytes, 16);
    return requestOf(unique, op.READ, node, body);
  };

  function serve(request: Buffer): void {
    request.copy(requests.request);
    session.serve(request.length);
  }

  const answers = (): number => statSync(`/proc/self/fd/${fds[1]}`).size;

  it("has nothing dropped that the kernel keeps locked for a request which is held back", () => {
    ask(op.INIT, 0, offered);
    mkdirSync(join(base, "folder"));
    const node = ask(op.LOOKUP, 1, Buffer.from("f\0")).readUInt32LE(0);
    const folder = ask(op.LOOKUP, 1, Buffer.from("folder\0")).readUInt32LE(0);
    writeFileSync(join(base, "folder/g"), "");
    const below = ask(op.LOOKUP, folder, Buffer.from("g\0")).readUInt32LE(0);
    const { handle } = openFile(node);
    const pages = watch("write", 100);
    dropFor(pages);
    session.onSent();
    serve(requestOf(7, op.WRITE, node, writing(handle, 1, { start: 5_000 })));
    const files = [expireName(1, "f"), invalidateNode(folder), expireName(1, "folder"), invalidateNode(below)];
    const around = [invalidateNode(node, { start: 0, end: 4_096 }), invalidateNode(node, { start: 8_192, end: Infinity })];
    assert.deepEqual(dropFor(pages), [invalidateNode(1), ...around, ...files, expireName(folder, "g")]);
    session.onSent();
    session.onSent();
    faults.rule([]);
    assert.deepEqual(dropFor([]), [invalidateNode(node, { start: 4_096, end: 8_192 })]);
    const names = watch("setattr", 100);
    serve(requestOf(9, op.SETATTR, folder, Buffer.alloc(88)));
    assert.deepEqual(
      dropFor(names),
      [1, node, folder, below].map((id) => invalidateNode(id)),
    );
  });

  it("holds back each write past the kernel's cache, also where that is told of them", () => {
    ask(op.INIT, 0, offered);
    const node = ask(op.LOOKUP, 1, Buffer.from("f\0")).readUInt32LE(0);
    openFile(node); // the kernel keeps its data
    watch("write", 100);
    const { handle } = openFile(node);
    for (const unique of [7, 9]) {
      serve(requestOf(unique, op.WRITE, node, writing(handle, 1, { isPastCache: true })));
      assert.notEqual(session.nextMs, Infinity);
      faults.rule([]);
      assert.deepEqual(dropFor([]), [invalidateNode(node, FIRST_BYTE)]); // it is let go
      watch("write", 100);
    }
  });

  it("says that rules are seen once those before are", () => {
    ask(op.INIT, 0, offered);
    const seen: string[] = [];
    dropFor(watch("read"), () => seen.push("one"));
    dropFor([], () => seen.push("the same"));
    assert.equal(seen.length, 0);
    session.onSent();
    dropFor([], () => seen.push("once more"));
    assert.deepEqual(seen, ["one", "the same", "once more"]);
  });

  it("holds nothing back that has a message wait which is under way", () => {
    ask(op.INIT, 0, offered);
    const node = ask(op.LOOKUP, 1, Buffer.from("f\0")).readUInt32LE(0);
    let isSeen = false;
    const messages = dropFor(watch("read", 100), () => {
      isSeen = true;
    });
    assert.deepEqual([messages.at(-1), isSeen], [expireName(1, "f"), false]);
    const before = answers();
    serve(reading(7, node, 0, 1));
    assert.ok(answers() > before);
    session.onSent();
    assert.equal(isSeen, true);
    serve(reading(9, node, 0, 1));
    assert.notEqual(session.nextMs, Infinity);
  });

  it("tells of an open file which is read or written, until that is released", () => {
    const node = ask(op.LOOKUP, 1, Buffer.from("f\0")).readUInt32LE(0);
    const [one, other] = [openFile(node).handle, openFile(node).handle];
    write(node, one);
    write(node, other);
    ask(op.RELEASE, node, Buffer.concat([other, Buffer.alloc(16)]));
    assert.deepEqual(pins, [node]);
    ask(op.RELEASE, node, Buffer.concat([one, Buffer.alloc(16)]));
    assert.deepEqual(pins, [node, 0]);
  });

  it("has data dropped that the kernel may have kept while a file was written to past its cache", () => {
    ask(op.INIT, 0, offered);
    const node = ask(op.LOOKUP, 1, Buffer.from("f\0")).readUInt32LE(0);
    const kept = openFile(node);
    assert.equal(kept.flags & fopen.DIRECT_IO, 0);
    write(node, kept.handle);
    assert.deepEqual(notified, []);
    watch("read");
    const direct = openFile(node);
    assert.equal(direct.flags & fopen.DIRECT_IO, fopen.DIRECT_IO);
    faults.rule([]);
    write(node, direct.handle);
    assert.deepEqual(notified, [invalidateNode(node, FIRST_BYTE)]);
  });

  it("never opens a file so that it could not be mapped: an older kernel keeps its data, and is told to forget them", () => {
    const asOfLinux61 = Buffer.from(offered);
    asOfLinux61.writeUInt32LE(1 << 3, 16);
    ask(op.INIT, 0, asOfLinux61);
    const node = ask(op.LOOKUP, 1, Buffer.from("f\0")).readUInt32LE(0);
    watch("read");
    const opened = openFile(node);
    assert.equal(opened.flags, 0);
    read(node, opened.handle);
    assert.deepEqual(notified, [invalidateNode(node, FIRST_BYTE)]);
  });

  // SETATTR, WRITE and the like on a descriptor that a random handle names would hit descriptors of the test itself.
  const harmless = Object.values(op).filter(
    (code) => ![op.RELEASE, op.RELEASEDIR, op.WRITE, op.FALLOCATE, op.COPY_FILE_RANGE].some((one) => one === code),
  );

  it("takes any bytes for a request without a crash: an error is the answer", () => {
    const body = fc.uint8Array({ maxLength: 200 });
    fc.assert(
      fc.property(fc.constantFrom(...harmless), fc.constantFrom(0, 1, 2, 2 ** 31), body, fc.boolean(), (code, node, bytes, isLong) => {
        const { request } = requests;
        request.fill(0xff, 0, 512);
        request.writeUInt32LE(40 + bytes.length + (isLong ? 5 : 0), 0);
        request.writeUInt32LE(code, 4);
        request.writeUInt32LE(node, 16);
        request.writeUInt32LE(0, 20);
        request.set(bytes, 40);
        request.writeUInt32LE(77, 40 + 4); // a handle of another epoch
        session.serve(40 + bytes.length);
        session.serve(Math.min(bytes.length, 39));
      }),
      { numRuns: 3_000 },
    );
    assert.deepEqual(bugs, []);
  });
});
