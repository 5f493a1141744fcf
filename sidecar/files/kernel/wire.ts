import { FileError, type Name, type NodeId } from "../file-operations.ts";
import { errors } from "../libc.ts";

/** Numbers and names in messages of the FUSE protocol: little-endian, and never more than JavaScript's numbers hold exactly. */

const TWO_32 = 2 ** 32;

export const readUint64 = (b: Buffer, at: number): number => b.readUInt32LE(at + 4) * TWO_32 + b.readUInt32LE(at);
export const readInt64 = (b: Buffer, at: number): number => b.readInt32LE(at + 4) * TWO_32 + b.readUInt32LE(at);

export function writeUint64(b: Buffer, at: number, value: number): void {
  const high = Math.floor(value / TWO_32);
  b.writeUInt32LE(value - high * TWO_32, at);
  b.writeUInt32LE(high, at + 4);
}

export function writeInt64(b: Buffer, at: number, value: number): void {
  const high = Math.floor(value / TWO_32);
  b.writeUInt32LE(value - high * TWO_32, at);
  b.writeInt32LE(high, at + 4);
}

/** Where the node lies that a request is about. */
export const NODE_AT = 16;

/** A name within a request of this length. Throws EINVAL where it does not end there. */
export function readName(b: Buffer, start: number, length: number): Name {
  const end = b.indexOf(0, start);
  if (end < 0 || end >= length) throw FileError.of(errors.EINVAL);
  return b.toString("latin1", start, end);
}

/**
 * In the upper half of a node's number: the kernel knows it as a file of another type than it is. Were the two one number, the kernel would give the
 * true file up for ever, with all who have it open, as soon as its type seems to change.
 */
const DISGUISED = 0x4000_0000;

export const readNode = (b: Buffer, at: number): NodeId => (b.readUInt32LE(at + 4) & ~DISGUISED) * TWO_32 + b.readUInt32LE(at);
export const isDisguised = (b: Buffer, at: number): boolean => (b.readUInt32LE(at + 4) & DISGUISED) !== 0;

export function writeNode(b: Buffer, at: number, node: NodeId, as: { readonly isDisguised: boolean }): void {
  writeUint64(b, at, node);
  if (as.isDisguised) b.writeUInt32LE((b.readUInt32LE(at + 4) | DISGUISED) >>> 0, at + 4);
}
