import type { Attributes, DirectoryEntry, Entry, Handle, Name, VolumeSpace } from "../file-operations.ts";
import { modes } from "../libc.ts";
import { AUTO_INVAL_DATA, MAX_WRITE, REQUEST_HEADER, wanted } from "./protocol.ts";
import { writeInt64, writeNode, writeUint64 } from "./wire.ts";

/** Bodies of answers, as linux/fuse.h lays them out. Each function writes to `out` at `at` and returns how many bytes that were. */

const ATTRIBUTES_BYTES = 88;
export const ENTRY_BYTES = 40 + ATTRIBUTES_BYTES;
const DIRENT_BYTES = 24;

/** A count, or an offset of 32 bits. */
export function writeCount(out: Buffer, at: number, count: number): number {
  out.writeUInt32LE(count, at);
  out.writeUInt32LE(0, at + 4);
  return 8;
}

/** `seconds`: how long the kernel may keep name and attributes. */
export function writeEntry(
  out: Buffer,
  at: number,
  { node, generation, attributes }: Entry,
  { seconds, isDisguised }: { readonly seconds: number; readonly isDisguised: boolean },
): number {
  writeNode(out, at, node, { isDisguised });
  writeUint64(out, at + 8, generation);
  writeUint64(out, at + 16, seconds);
  writeUint64(out, at + 24, seconds);
  writeUint64(out, at + 32, 0);
  writeAttributes(out, at + 40, attributes);
  return ENTRY_BYTES;
}

/** That there is no such name, which the kernel may believe for so long. */
export function writeAbsence(out: Buffer, at: number, seconds: number): number {
  out.fill(0, at, at + ENTRY_BYTES);
  writeUint64(out, at + 16, seconds);
  return ENTRY_BYTES;
}

export function writeAttributesKept(out: Buffer, at: number, attributes: Attributes, seconds: number): number {
  writeUint64(out, at, seconds);
  writeUint64(out, at + 8, 0);
  writeAttributes(out, at + 16, attributes);
  return 16 + ATTRIBUTES_BYTES;
}

function writeAttributes(out: Buffer, at: number, told: Attributes): void {
  writeUint64(out, at, told.ino);
  writeUint64(out, at + 8, told.size);
  writeUint64(out, at + 16, told.blocks);
  writeInt64(out, at + 24, told.atime);
  writeInt64(out, at + 32, told.mtime);
  writeInt64(out, at + 40, told.ctime);
  out.writeUInt32LE(told.atimeNs, at + 48);
  out.writeUInt32LE(told.mtimeNs, at + 52);
  out.writeUInt32LE(told.ctimeNs, at + 56);
  out.writeUInt32LE(told.mode, at + 60);
  out.writeUInt32LE(told.nlink, at + 64);
  out.writeUInt32LE(told.uid, at + 68);
  out.writeUInt32LE(told.gid, at + 72);
  out.writeUInt32LE(told.rdev, at + 76);
  out.writeUInt32LE(told.blksize, at + 80);
  out.writeUInt32LE(0, at + 84);
}

export const withType = (attributes: Attributes, mode: number): Attributes => ({
  ...attributes,
  mode: (attributes.mode & ~modes.S_IFMT) | (mode & modes.S_IFMT),
});

/** `epoch`: of the server whose handle it is. */
export function writeOpen(out: Buffer, at: number, handle: Handle, epoch: number, openFlags: number): number {
  out.writeUInt32LE(handle, at);
  out.writeUInt32LE(epoch, at + 4);
  out.writeUInt32LE(openFlags, at + 8);
  out.writeUInt32LE(0, at + 12);
  return 16;
}

export const direntBytes = (name: Name): number => DIRENT_BYTES + ((name.length + 7) & ~7);

export function writeDirent(out: Buffer, at: number, { ino, name, type, next }: DirectoryEntry): number {
  const bytes = direntBytes(name);
  out.fill(0, at + DIRENT_BYTES, at + bytes);
  writeUint64(out, at, ino);
  out.writeBigInt64LE(next, at + 8);
  out.writeUInt32LE(name.length, at + 16);
  out.writeUInt32LE(type, at + 20);
  out.write(name, at + DIRENT_BYTES, "latin1");
  return bytes;
}

export function writeSpace(out: Buffer, at: number, space: VolumeSpace): number {
  out.fill(0, at, at + 80);
  [space.blocks, space.free, space.available, space.files, space.freeFiles].forEach((value, index) =>
    writeUint64(out, at + index * 8, value),
  );
  out.writeUInt32LE(space.blockSize, at + 40);
  out.writeUInt32LE(space.longestName, at + 44);
  out.writeUInt32LE(space.fragmentSize, at + 48);
  return 80;
}

const MOST_IN_BACKGROUND = 512;

export interface InitOptions {
  /** Whether others than those who use this mount may change files. */
  readonly isShared: boolean;
  /** Of a page of the kernel's cache. */
  readonly pageBytes: number;
}

/** What is agreed on, to a request of INIT of this length. */
export function writeInit(out: Buffer, at: number, request: Buffer, length: number, { isShared, pageBytes }: InitOptions): number {
  const body = REQUEST_HEADER;
  const flags = wanted.flags | (isShared ? AUTO_INVAL_DATA : 0);
  out.fill(0, at, at + 64);
  out.writeUInt32LE(7, at);
  out.writeUInt32LE(Math.min(request.readUInt32LE(body + 4), 41), at + 4);
  out.writeUInt32LE(request.readUInt32LE(body + 8), at + 8);
  out.writeUInt32LE((request.readUInt32LE(body + 12) & flags) >>> 0, at + 12);
  // Those that it keeps back have pages locked of which this server does not know; those that are held back, up to 1 MiB each, lie in memory.
  out.writeUInt16LE(MOST_IN_BACKGROUND, at + 16);
  out.writeUInt16LE(MOST_IN_BACKGROUND, at + 18);
  out.writeUInt32LE(MAX_WRITE, at + 20);
  out.writeUInt32LE(1, at + 24);
  out.writeUInt16LE(MAX_WRITE / pageBytes, at + 28);
  out.writeUInt32LE(length >= body + 20 ? (request.readUInt32LE(body + 16) & wanted.flags2) >>> 0 : 0, at + FLAGS2_AT);
  return 64;
}

const FLAGS2_AT = 32;

/** The second word of flags in the body of an answer to INIT. */
export const readFlags2 = (init: Buffer): number => (init.length < FLAGS2_AT + 4 ? 0 : init.readUInt32LE(FLAGS2_AT));
