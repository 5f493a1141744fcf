import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { FaultLayer } from "../../../sidecar/files/fault-layer.ts";
import { op } from "../../../sidecar/files/kernel/protocol.ts";
import { Session } from "../../../sidecar/files/kernel/session.ts";
import { openLibc } from "../../../sidecar/files/libc.ts";
import { openPassthrough } from "../../../sidecar/files/passthrough.ts";

describe("Session", () => {
  let base: string;
  let fds: readonly [folder: number, sink: number];
  let bugs: unknown[];
  let session: Session;

  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), "squall-session-"));
    writeFileSync(join(base, "f"), "data");
    fds = [openSync(base, "r"), openSync("/dev/null", "w")];
    bugs = [];
    const libc = openLibc();
    session = new Session({
      libc,
      fuse: fds[1],
      files: openPassthrough({ libc, folder: fds[0], maxDescriptors: 256 }),
      faults: new FaultLayer({ nowMs: () => 0, random: () => 0 }),
      epoch: 1,
      init: undefined,
      onInit: () => undefined,
      isAnyWaiting: () => true,
      onSync: () => undefined,
      onNotify: () => undefined,
      onBug: (error) => bugs.push(error),
      nowMs: () => 0,
      random: () => 0,
    });
  });

  afterEach(() => {
    for (const fd of fds) closeSync(fd);
    rmSync(base, { recursive: true, force: true });
  });

  // SETATTR, WRITE and the like on a descriptor that a random handle names would hit descriptors of the test itself.
  const harmless = Object.values(op).filter(
    (code) => ![op.RELEASE, op.RELEASEDIR, op.WRITE, op.FALLOCATE, op.COPY_FILE_RANGE].some((one) => one === code),
  );

  it("takes any bytes for a request without a crash: an error is the answer", () => {
    const body = fc.uint8Array({ maxLength: 200 });
    fc.assert(
      fc.property(fc.constantFrom(...harmless), fc.constantFrom(0, 1, 2, 2 ** 31), body, fc.boolean(), (code, node, bytes, isLong) => {
        const { request } = session;
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
