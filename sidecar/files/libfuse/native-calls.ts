import type { Attributes, DirectoryEntry, Handle, Name, VolumeSpace } from "../file-operations.ts";
import { addressOf } from "../libc.ts";
import { CString } from "../node-table.ts";
import type { ThreadMemory } from "./fuse-native.ts";
import type { Memory } from "./memory.ts";

/** Where fuse-native 2.2.6 keeps what libfuse called it with: `fuse_thread_locals_t` of its fuse-native.c, as laid out on x86_64. */
const at = { path: 24, dest: 32, linkname: 40, info: 48, buffer: 56, name: 128, size: 152, stat: 168, statvfs: 176, filler: 184 } as const;
export type TextAt = "path" | "dest" | "name";

/** `fh` within `struct fuse_file_info` of fuse_common.h. */
const HANDLE_AT = 24;
/** Of `struct stat` and `struct statvfs` of glibc on x86_64. */
const STAT_BYTES = 144;
const STATVFS_BYTES = 112;
const LONGEST_PATH = 4096;

/**
 * Reads and answers calls exactly where fuse-native itself would not: it takes texts for UTF-8, cuts inodes to 32 bits and times to milliseconds. What it
 * would fill in is filled in here, and it gets a place to fill in that nobody reads.
 */
export class NativeCalls {
  readonly #memory: Memory;
  readonly #bytes = Buffer.alloc(LONGEST_PATH + 256);
  readonly #bytesAddress = addressOf(this.#bytes);
  readonly #unread = Buffer.alloc(LONGEST_PATH * 2);
  readonly #unreadAddress = addressOf(this.#unread);
  readonly #name = new CString(LONGEST_PATH);

  constructor(memory: Memory) {
    this.#memory = memory;
  }

  /** A text of a call, of which fuse-native made `decoded`. */
  text(thread: ThreadMemory, which: TextAt, decoded: string): Name {
    if (!decoded.includes("\u{fffd}")) return isAscii(decoded) ? decoded : Buffer.from(decoded, "utf8").toString("latin1");
    const address = thread.readBigUInt64LE(at[which]);
    const length = this.#memory.lengthOf(address, LONGEST_PATH);
    this.#memory.copy(this.#bytesAddress, address, length);
    return this.#bytes.toString("latin1", 0, length);
  }

  /** How much room whoever asks for an extended attribute has; 0: they ask for its size. */
  roomOf = (thread: ThreadMemory): number => Number(thread.readBigUInt64LE(at.size));

  /** Of the call's open file or folder. */
  handleOf(thread: ThreadMemory): Handle {
    this.#memory.copy(this.#bytesAddress, thread.readBigUInt64LE(at.info) + BigInt(HANDLE_AT), 8);
    return Number(this.#bytes.readBigUInt64LE(0));
  }

  giveAttributes(thread: ThreadMemory, attributes: Attributes): void {
    this.#writeStat(attributes);
    this.#give(thread, at.stat, STAT_BYTES);
  }

  giveSpace(thread: ThreadMemory, space: VolumeSpace): void {
    const { blockSize, fragmentSize, blocks, free, available, files, freeFiles, longestName } = space;
    this.#bytes.fill(0, 0, STATVFS_BYTES);
    const words = [blockSize, fragmentSize, blocks, free, available, files, freeFiles, freeFiles, 0, 0, longestName];
    for (const [index, word] of words.entries()) this.#bytes.writeBigUInt64LE(BigInt(word), index * 8);
    this.#give(thread, at.statvfs, STATVFS_BYTES);
  }

  giveTarget(thread: ThreadMemory, target: Name): void {
    const length = this.#bytes.write(target, 0, LONGEST_PATH, "latin1");
    this.#bytes[length] = 0;
    this.#give(thread, at.linkname, length + 1);
  }

  /** False where libfuse takes no more. */
  giveEntry(thread: ThreadMemory, { ino, name, type }: DirectoryEntry): boolean {
    this.#bytes.fill(0, 0, STAT_BYTES);
    this.#bytes.writeBigUInt64LE(BigInt(ino), 8);
    this.#bytes.writeUInt32LE(type << 12, 24);
    const folder = thread.readBigUInt64LE(at.buffer);
    return this.#memory.addToFolder(thread.readBigUInt64LE(at.filler), folder, this.#name.set(name), this.#bytesAddress);
  }

  /** Copies what stands in `bytes` to where libfuse wants it, and turns fuse-native away from there. */
  #give(thread: ThreadMemory, where: number, length: number): void {
    this.#memory.copy(thread.readBigUInt64LE(where), this.#bytesAddress, length);
    thread.writeBigUInt64LE(this.#unreadAddress, where);
  }

  #writeStat(attributes: Attributes): void {
    const b = this.#bytes;
    b.fill(0, 0, STAT_BYTES);
    b.writeBigUInt64LE(BigInt(attributes.ino), 8);
    b.writeBigUInt64LE(BigInt(attributes.nlink), 16);
    b.writeUInt32LE(attributes.mode, 24);
    b.writeUInt32LE(attributes.uid, 28);
    b.writeUInt32LE(attributes.gid, 32);
    b.writeBigUInt64LE(BigInt(attributes.rdev), 40);
    b.writeBigInt64LE(BigInt(attributes.size), 48);
    b.writeBigInt64LE(BigInt(attributes.blksize), 56);
    b.writeBigInt64LE(BigInt(attributes.blocks), 64);
    b.writeBigInt64LE(BigInt(attributes.atime), 72);
    b.writeBigInt64LE(BigInt(attributes.atimeNs), 80);
    b.writeBigInt64LE(BigInt(attributes.mtime), 88);
    b.writeBigInt64LE(BigInt(attributes.mtimeNs), 96);
    b.writeBigInt64LE(BigInt(attributes.ctime), 104);
    b.writeBigInt64LE(BigInt(attributes.ctimeNs), 112);
  }
}

const isAscii = (text: string): boolean => /^[\0-\x7f]*$/.test(text);
