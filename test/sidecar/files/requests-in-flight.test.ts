import assert from "node:assert/strict";
import { fstatSync } from "node:fs";
import type { Descriptor } from "../../../agent/descriptors.ts";
import { createSharedMemory } from "../../../agent/shared-memory.ts";
import { op } from "../../../sidecar/files/kernel/protocol.ts";
import { endSync, RequestsInFlight } from "../../../sidecar/files/kernel/requests-in-flight.ts";
import { openLibc } from "../../../sidecar/files/libc.ts";

describe("RequestsInFlight", () => {
  const libc = openLibc();
  let memory: Descriptor;

  beforeEach(() => {
    memory = createSharedMemory("test");
  });
  afterEach(() => memory.close());

  const serve = (): RequestsInFlight => new RequestsInFlight(libc, memory.number);
  const lostBy = (server: RequestsInFlight): readonly Buffer[] => [...server.lost()].map(({ request }) => request);

  function requestOf(code: number, unique: number, bytes = 56): Buffer {
    const request = Buffer.alloc(bytes, 7);
    request.writeUInt32LE(bytes, 0);
    request.writeUInt32LE(code, 4);
    request.writeBigUInt64LE(BigInt(unique), 8);
    return request;
  }

  /** What the kernel does. */
  function give(to: RequestsInFlight, request: Buffer): void {
    request.copy(to.request);
  }

  it("keeps a request from when the kernel gives it out until it is done", () => {
    const server = serve();
    assert.deepEqual(lostBy(serve()), []);
    const large = requestOf(op.WRITE, 2 ** 40 + 1, 1024 * 1024 + 80);
    give(server, large);
    assert.deepEqual(lostBy(serve()), [large]);
    server.done();
    assert.deepEqual(lostBy(serve()), []);
  });

  it("keeps those that are held back or synced beside it, each until its own end", () => {
    const server = serve();
    const [one, other] = [requestOf(op.WRITE, 1, 1024 * 1024 + 80), requestOf(op.OPEN, 2)];
    const [slot = -1, otherSlot = -1] = [server.hold(one), server.hold(other)];
    const sync = server.beginSync(requestOf(op.FSYNC, 3)) ?? -1;
    const otherSync = server.beginSync(requestOf(op.FSYNC, 4)) ?? -1;
    give(server, requestOf(op.READ, 5));
    assert.deepEqual(lostBy(serve()), [one, other, requestOf(op.FSYNC, 3), requestOf(op.FSYNC, 4), requestOf(op.READ, 5)]);
    server.release(slot);
    endSync(memory.number, otherSync);
    server.done();
    assert.deepEqual(lostBy(serve()), [other, requestOf(op.FSYNC, 3)]);
    server.release(otherSlot);
    endSync(memory.number, sync);
    assert.deepEqual(lostBy(serve()), []);
  });

  it("gives places and their memory back", () => {
    const server = serve();
    const before = fstatSync(memory.number).blocks;
    for (let round = 0; round < 1_000; round += 1) {
      const slot = server.hold(requestOf(op.WRITE, 1, 1024 * 1024)) ?? -1;
      const sync = server.beginSync(requestOf(op.FSYNC, 2)) ?? -1;
      server.release(slot);
      endSync(memory.number, sync);
    }
    const { size, blocks } = fstatSync(memory.number);
    assert.ok(size < 4 * 1024 * 1024 && blocks <= before, `${size} bytes, ${blocks} blocks, before ${before}`);
  });

  it("has no room for more syncs than there are places", () => {
    const server = serve();
    const slots = Array.from({ length: 257 }, (_, index) => server.beginSync(requestOf(op.FSYNC, index + 1)));
    assert.deepEqual(new Set(slots.slice(0, 256)).size, 256);
    assert.equal(slots[256], undefined);
  });

  it("keeps what an earlier server left until each is forgotten, and never gives its places away before", () => {
    const server = serve();
    server.hold(requestOf(op.OPEN, 1));
    server.hold(requestOf(op.OPEN, 2));
    give(server, requestOf(op.READ, 3));
    const second = serve();
    const [held, ...others] = [...second.lost()];
    assert.equal(second.hold(requestOf(op.OPEN, 4)), 2);
    held?.forget();
    assert.deepEqual(lostBy(serve()), [requestOf(op.OPEN, 2), requestOf(op.OPEN, 4), requestOf(op.READ, 3)]);
    for (const { forget } of others) forget();
    assert.deepEqual(lostBy(serve()), [requestOf(op.OPEN, 4)]);
  });

  it("takes none for lost that is begun while others are carried out", () => {
    const server = serve();
    server.hold(requestOf(op.FSYNC, 1));
    server.beginSync(requestOf(op.FSYNC, 2));
    const second = serve();
    const seen: number[] = [];
    for (const { request, forget } of second.lost()) {
      seen.push(request.readUInt32LE(8));
      second.beginSync(request);
      second.hold(request);
      forget();
    }
    assert.deepEqual(seen, [1, 2]);
  });

  it("takes the whole one where a server ended while it gave a request another place", () => {
    const server = serve();
    const whole = requestOf(op.WRITE, 1, 200_000);
    give(server, whole);
    const part = Buffer.from(whole).fill(0, 100_000);
    server.hold(part);
    server.beginSync(requestOf(op.FSYNC, 1));
    assert.deepEqual(lostBy(serve()), [whole]);
    server.done();
    assert.deepEqual(lostBy(serve()), []);
  });

  it("knows what kernel and server agreed on, as soon as it was noted", () => {
    const server = serve();
    assert.equal(server.agreed, undefined);
    const answer = Buffer.alloc(64, 7);
    server.agree(answer);
    assert.equal(serve().agreed, answer.toString("base64"));
  });

  it("makes nothing of bytes that are no request", () => {
    const broken = requestOf(op.READ, 3);
    broken.writeUInt32LE(2 ** 31, 0);
    give(serve(), broken);
    assert.deepEqual(lostBy(serve()), []);
  });
});
