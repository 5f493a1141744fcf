import type { NodeId } from "../file-operations.ts";
import { type Bytes, op, REQUEST_HEADER } from "./protocol.ts";
import { NODE_AT, readNode, readUint64 } from "./wire.ts";

/**
 * What the kernel keeps locked until a request is answered: pages that it reads or writes, or folders. A message that has it drop any of that waits for the
 * answer, and who sent it cannot even be killed meanwhile (see invalidate_inode_pages2_range and fuse_reverse_inval_entry in Linux).
 */
export interface Locked {
  readonly pages?: Bytes & { readonly node: NodeId };
  readonly folders: readonly NodeId[];
}

const BODY = REQUEST_HEADER;
const PAGE_BYTES = 4_096;
const NOTHING: Locked = { folders: [] };

/** Of a request that is whole. */
export function lockedBy(request: Buffer): Locked {
  const node = readNode(request, NODE_AT);
  switch (request.readUInt32LE(4)) {
    case op.READ:
    case op.WRITE:
      return { pages: { node, ...pagesOf(readUint64(request, BODY + 8), request.readUInt32LE(BODY + 16)) }, folders: [] };
    case op.LOOKUP:
    case op.CREATE:
    case op.MKNOD:
    case op.MKDIR:
    case op.SYMLINK:
    case op.LINK:
    case op.UNLINK:
    case op.RMDIR:
    case op.READDIR:
    case op.READDIRPLUS:
      return { folders: [node] };
    case op.RENAME:
    case op.RENAME2:
      return { folders: [node, readNode(request, BODY)] };
    default:
      return NOTHING;
  }
}

const pagesOf = (start: number, bytes: number): Bytes => ({
  start: start - (start % PAGE_BYTES),
  end: Math.ceil((start + bytes) / PAGE_BYTES) * PAGE_BYTES,
});

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
