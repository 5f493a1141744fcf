import type { NodeId } from "../file-operations.ts";
import { type Bytes, fattr, op, REQUEST_HEADER } from "./protocol.ts";
import { NODE_AT, readNode, readUint64 } from "./wire.ts";

/**
 * What the kernel may keep locked until a request is answered. A message that has it drop any of that waits for the answer, and who sent it cannot even be
 * killed meanwhile (see invalidate_inode_pages2_range and fuse_reverse_inval_entry in Linux).
 */
export type Locked =
  /** Data of a file. */
  | { readonly are: "pages"; readonly node: NodeId; readonly bytes: Bytes }
  /** Folders, perhaps; it is not said which: there may be several, and the names in them are kept for a second only. */
  | { readonly are: "folders" };

const BODY = REQUEST_HEADER;
/** Of READ and WRITE: the kernel goes past its cache, see fuse_send_read in Linux. A memory map of a file that is open direct has it go through it. */
const HAS_LOCK_OWNER = 2;

/** Of a request that is whole; undefined for nothing. */
export function lockedBy(request: Buffer, pageBytes: number): Locked | undefined {
  const node = readNode(request, NODE_AT);
  switch (request.readUInt32LE(4)) {
    case op.READ:
    case op.WRITE: {
      if ((request.readUInt32LE(BODY + 20) & HAS_LOCK_OWNER) !== 0) return undefined;
      const start = readUint64(request, BODY + 8);
      return { are: "pages", node, bytes: pagesAround({ start, end: start + request.readUInt32LE(BODY + 16) }, pageBytes) };
    }
    case op.SETATTR:
      if ((request.readUInt32LE(BODY) & fattr.SIZE) !== 0) return { are: "pages", node, bytes: ALL };
  }
  return { are: "folders" };
}

/** A file from its start to its end. */
export const ALL: Bytes = { start: 0, end: Infinity };

/** The pages that have some of these bytes. */
const pagesAround = ({ start, end }: Bytes, pageBytes: number): Bytes => ({
  start: Math.floor(start / pageBytes) * pageBytes,
  end: Math.ceil(end / pageBytes) * pageBytes,
});

/** The pages of which these bytes are all. */
export function pagesWithin({ start, end }: Bytes, pageBytes: number): Bytes {
  const from = Math.ceil(start / pageBytes) * pageBytes;
  return { start: from, end: Math.max(from, Math.floor(end / pageBytes) * pageBytes) };
}

/** What is left of a range without these. */
export function without({ start, end }: Bytes, taken: readonly Bytes[] = []): readonly Bytes[] {
  const left: Bytes[] = [];
  let from = start;
  for (const range of taken.toSorted((a, b) => a.start - b.start)) {
    if (range.start > from) left.push({ start: from, end: Math.min(range.start, end) });
    from = Math.max(from, range.end);
    if (from >= end) return left;
  }
  return [...left, { start: from, end }];
}
