import { fstatSync, ftruncateSync, writeSync } from "node:fs";
import { addressOf, type Libc } from "../libc.ts";
import { MAX_WRITE, REQUEST_HEADER } from "./protocol.ts";

const REQUEST_BYTES = MAX_WRITE + 8_192;
const UNIQUE_AT = 8;
/** A request of FSYNC or FSYNCDIR: its header and 16 bytes. */
const SYNC_BYTES = REQUEST_HEADER + 16;
const SYNC_SLOT_BYTES = 64;
const MOST_SYNCS = 256;
const SYNCS_AT = REQUEST_BYTES;
/** In a page of its own. */
const AGREED_BYTES = 64;
const AGREED_AT = SYNCS_AT + MOST_SYNCS * SYNC_SLOT_BYTES;
const HELD_AT = AGREED_AT + 4_096;
const NO_UNIQUE = Buffer.alloc(8);
const PUNCH_HOLE = 3; // FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE

/** A request that a server had read, and perhaps not answered, when it ended. */
export interface LostRequest {
  readonly request: Buffer;
  /** Where it is held; undefined for one that is not. */
  readonly slot: number | undefined;
  /** It has been seen to, and is not held any more. */
  readonly forget: () => void;
}

/**
 * The requests that are read and not answered yet, in memory that outlives this process (memfd_create(2), kept by sidecar and daemon): the kernel
 * gives each out once, and who waits for its answer cannot even be killed. Linux 6.9 can be asked to send them again, most nodes have an older one.
 *
 * First lies the request that is being served, where the kernel itself puts it; then those that wait for fsync(2), then those that a fault holds back. A
 * place is free while the number of its request, `unique`, is 0.
 */
export class RequestsInFlight {
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #mapped: Buffer;
  /** Where the kernel puts a request. */
  readonly request: Buffer;
  readonly address: bigint;
  readonly #noUnique = addressOf(NO_UNIQUE);
  readonly #freeSlots: number[] = [];
  #slots = 0;

  /** `fd`: memory that was made for this mount. */
  constructor(libc: Libc, fd: number) {
    const { size } = fstatSync(fd);
    if (size < HELD_AT) ftruncateSync(fd, HELD_AT);
    const memory = libc.mapShared(fd, HELD_AT);
    this.#libc = libc;
    this.#fd = fd;
    this.#mapped = memory;
    this.#slots = Math.max(0, Math.ceil((size - HELD_AT) / REQUEST_BYTES));
    this.request = memory.subarray(0, REQUEST_BYTES);
    this.address = addressOf(memory);
  }

  /** The body of the answer to INIT that was noted, base64; undefined where there is none. */
  get agreed(): string | undefined {
    const answer = this.#mapped.subarray(AGREED_AT, AGREED_AT + AGREED_BYTES);
    return answer.readUInt32LE(0) === 0 ? undefined : answer.toString("base64");
  }

  /** Notes it, before it is sent: whoever comes next cannot ask for it. */
  agree(answer: Buffer): void {
    answer.copy(this.#mapped, AGREED_AT + 4, 4, AGREED_BYTES);
    answer.copy(this.#mapped, AGREED_AT, 0, 4);
  }

  /** The request at `request` is answered, wants no answer, or has another place. */
  done(): void {
    this.#mapped.fill(0, UNIQUE_AT, UNIQUE_AT + 8);
  }

  /** Keeps a request until `endSync` is called; undefined where there is no room. */
  beginSync(request: Buffer): number | undefined {
    for (let slot = 0; slot < MOST_SYNCS; slot += 1) {
      const at = SYNCS_AT + slot * SYNC_SLOT_BYTES;
      if (!isFree(this.#mapped, at)) continue;
      request.copy(this.#mapped, at, 0, SYNC_BYTES);
      return slot;
    }
    return undefined;
  }

  /** Keeps a request until it is released. Undefined where there is no memory: it is lost with this process then. */
  hold(request: Buffer): number | undefined {
    const slot = this.#freeSlots.pop() ?? this.#slots++;
    if (this.#libc.pwrite(this.#fd, addressOf(request), request.length, HELD_AT + slot * REQUEST_BYTES) === request.length) return slot;
    this.release(slot);
    return undefined;
  }

  /** A request that is held. */
  read(slot: number): Buffer {
    const request = this.#readHeld(slot);
    if (request === undefined) throw new Error(`No request is held at ${slot}.`);
    return request;
  }

  release(slot: number): void {
    // First it is none any more, whatever becomes of its memory.
    this.#libc.pwrite(this.#fd, this.#noUnique, NO_UNIQUE.length, HELD_AT + slot * REQUEST_BYTES + UNIQUE_AT);
    this.#libc.fallocate(this.#fd, PUNCH_HOLE, HELD_AT + slot * REQUEST_BYTES, REQUEST_BYTES);
    this.#freeSlots.push(slot);
  }

  /** What earlier servers left, one after the other. Each is kept until it is forgotten, should this one end, too. To be called once, before any other. */
  *lost(): Iterable<LostRequest> {
    const last = wholeRequest(this.request);
    const before = this.#slots;
    const held: number[] = [];
    for (let slot = 0; slot < before; slot += 1) {
      const request = this.#readHeld(slot);
      if (request === undefined) this.#freeSlots.push(slot);
      // Its server ended while it gave the last one another place: what lies there may be a part of it.
      else if (last !== undefined && uniqueOf(request) === uniqueOf(last)) this.release(slot);
      else held.push(slot);
    }
    // All of them before any is carried out, which may begin new ones.
    const syncs: LostRequest[] = [];
    for (let slot = 0; slot < MOST_SYNCS; slot += 1) {
      const at = SYNCS_AT + slot * SYNC_SLOT_BYTES;
      const request = wholeRequest(this.#mapped.subarray(at, at + SYNC_SLOT_BYTES));
      if (request === undefined) continue;
      if (last !== undefined && uniqueOf(request) === uniqueOf(last)) endSync(this.#fd, slot);
      else syncs.push({ request, slot: undefined, forget: () => endSync(this.#fd, slot) });
    }
    for (const slot of held) yield { request: this.read(slot), slot, forget: () => this.release(slot) };
    yield* syncs;
    if (last !== undefined) yield { request: last, slot: undefined, forget: () => this.done() };
  }

  #readHeld(slot: number): Buffer | undefined {
    const at = HELD_AT + slot * REQUEST_BYTES;
    const header = Buffer.alloc(REQUEST_HEADER);
    if (this.#libc.pread(this.#fd, addressOf(header), REQUEST_HEADER, at) < REQUEST_HEADER || isFree(header, 0)) return undefined;
    const request = Buffer.alloc(Math.min(header.readUInt32LE(0), REQUEST_BYTES));
    this.#libc.pread(this.#fd, addressOf(request), request.length, at);
    return wholeRequest(request);
  }
}

/** The request of a `beginSync` is answered. Any thread may say so. */
export function endSync(fd: number, slot: number): void {
  writeSync(fd, NO_UNIQUE, 0, NO_UNIQUE.length, SYNCS_AT + slot * SYNC_SLOT_BYTES + UNIQUE_AT);
}

const isFree = (memory: Buffer, at: number): boolean =>
  memory.readUInt32LE(at + UNIQUE_AT) === 0 && memory.readUInt32LE(at + UNIQUE_AT + 4) === 0;

const uniqueOf = (request: Buffer): bigint => request.readBigUInt64LE(UNIQUE_AT);

/** A copy; undefined where there is none. */
function wholeRequest(memory: Buffer): Buffer | undefined {
  const length = memory.readUInt32LE(0);
  if (isFree(memory, 0) || length < REQUEST_HEADER || length > memory.length) return undefined;
  return Buffer.from(memory.subarray(0, length));
}
