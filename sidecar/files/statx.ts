import type { Attributes } from "./file-operations.ts";

/** Size of `struct statx`; see statx(2) and linux/stat.h. */
export const STATX_BYTES = 256;

const at = {
  blksize: 4,
  nlink: 16,
  uid: 20,
  gid: 24,
  mode: 28,
  ino: 32,
  size: 40,
  blocks: 48,
  atime: 64,
  btime: 80,
  ctime: 96,
  mtime: 112,
};
const RDEV_MAJOR = 128;
const RDEV_MINOR = 132;
/** Within `struct statx_timestamp`. */
const NANOS = 8;
const TWO_32 = 2 ** 32;

const readUint64 = (buffer: Buffer, offset: number): number => buffer.readUInt32LE(offset + 4) * TWO_32 + buffer.readUInt32LE(offset);
const readInt64 = (buffer: Buffer, offset: number): number => buffer.readInt32LE(offset + 4) * TWO_32 + buffer.readUInt32LE(offset);

export const readIno = (statx: Buffer): number => readUint64(statx, at.ino);

/** Tells files apart that had the number of an inode one after the other: when the inode was made, folded into 32 bits; 0 where that is unknown. */
export const readGeneration = (statx: Buffer): number =>
  (Math.imul(statx.readUInt32LE(at.btime), 0x9e3779b1) ^ statx.readUInt32LE(at.btime + NANOS)) >>> 0;

export function readAttributes(statx: Buffer): Attributes {
  return {
    ino: readUint64(statx, at.ino),
    size: readUint64(statx, at.size),
    blocks: readUint64(statx, at.blocks),
    atime: readInt64(statx, at.atime),
    atimeNs: statx.readUInt32LE(at.atime + NANOS),
    mtime: readInt64(statx, at.mtime),
    mtimeNs: statx.readUInt32LE(at.mtime + NANOS),
    ctime: readInt64(statx, at.ctime),
    ctimeNs: statx.readUInt32LE(at.ctime + NANOS),
    mode: statx.readUInt16LE(at.mode),
    nlink: statx.readUInt32LE(at.nlink),
    uid: statx.readUInt32LE(at.uid),
    gid: statx.readUInt32LE(at.gid),
    rdev: packDevice(statx.readUInt32LE(RDEV_MAJOR), statx.readUInt32LE(RDEV_MINOR)),
    blksize: statx.readUInt32LE(at.blksize),
  };
}

/** As the kernel packs a device number for user space: see new_encode_dev in linux/kdev_t.h. */
const packDevice = (major: number, minor: number): number => ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
