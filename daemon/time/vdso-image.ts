import { closeSync, openSync, readFileSync, readSync } from "node:fs";

/** A vDSO as it lies in memory, see vdso(7). All processes of one kernel have the same one, each at an address of its own. */
export interface VdsoImage {
  readonly bytes: Buffer;
  /** Its functions by name; some have two. */
  readonly functions: ReadonlyMap<string, CodeRange>;
  /** Where what the file holds ends: behind it there is only the padding of the last page. */
  readonly contentEnd: number;
}

/** Bytes from `offset` on, from the start of the image. */
export interface CodeRange {
  readonly offset: number;
  readonly length: number;
}

/** First bytes of every ELF file. */
export const ELF_MAGIC = 0x7f454c46;
const X86_64 = 62;
const LOAD = 1;
const DYNAMIC = 2;
const HASH_TABLE = 4;
const STRING_TABLE = 5;
const SYMBOL_TABLE = 6;
const FUNCTION = 2;

/** The vDSO of this very process. Throws where there is none. */
export function readOwnVdso(): Buffer {
  const line = readFileSync("/proc/self/maps", "latin1")
    .split("\n")
    .find((each) => each.endsWith("[vdso]"));
  const [start, end] = (line?.split(" ")[0] ?? "").split("-").map((hex) => Number.parseInt(hex, 16));
  if (start === undefined || end === undefined) throw new Error("This kernel gives processes no vDSO (/proc/self/maps has no [vdso]).");
  const bytes = Buffer.alloc(end - start);
  const fd = openSync("/proc/self/mem", "r");
  try {
    if (readSync(fd, bytes, 0, bytes.length, start) !== bytes.length) throw new Error("/proc/self/mem does not give all of the vDSO.");
  } finally {
    closeSync(fd);
  }
  return bytes;
}

/** Reads what ELF says about an image; see elf(5). Throws for anything but one of x86-64. */
export function parseVdso(bytes: Buffer): VdsoImage {
  if (bytes.readUInt32BE(0) !== ELF_MAGIC || bytes.readUInt16LE(18) !== X86_64) throw new Error("The vDSO is not an ELF file of x86-64.");
  const { dynamic, loadEnd } = readSegments(bytes);
  const tables = readDynamic(bytes, dynamic);
  const symbols = tables.get(SYMBOL_TABLE);
  const strings = tables.get(STRING_TABLE);
  if (symbols === undefined || strings === undefined) throw new Error("The vDSO has no table of symbols.");
  const hash = tables.get(HASH_TABLE);
  // Without DT_HASH nothing tells how many there are; linkers put the strings right behind the symbols.
  const count = hash === undefined ? Math.floor((strings - symbols) / 24) : bytes.readUInt32LE(hash + 4);
  const functions = new Map<string, CodeRange>();
  for (let at = symbols + 24; at < symbols + count * 24; at += 24) {
    const nameAt = strings + bytes.readUInt32LE(at);
    const offset = readNumber(bytes, at + 8);
    const isFunction = (bytes.readUInt8(at + 4) & 15) === FUNCTION && offset !== 0;
    if (isFunction)
      functions.set(bytes.toString("latin1", nameAt, bytes.indexOf(0, nameAt)), { offset, length: readNumber(bytes, at + 16) });
  }
  const sections = readNumber(bytes, 40);
  const sectionsEnd = sections === 0 ? 0 : sections + bytes.readUInt16LE(58) * bytes.readUInt16LE(60);
  return { bytes, functions, contentEnd: Math.max(loadEnd, sectionsEnd) };
}

function readSegments(bytes: Buffer): { readonly dynamic: number; readonly loadEnd: number } {
  let dynamic = 0;
  let loadEnd = 0;
  const first = readNumber(bytes, 32);
  for (let at = first; at < first + bytes.readUInt16LE(56) * 56; at += 56) {
    const type = bytes.readUInt32LE(at);
    if (type === DYNAMIC) dynamic = readNumber(bytes, at + 8);
    if (type === LOAD) loadEnd = readNumber(bytes, at + 8) + readNumber(bytes, at + 32);
  }
  return { dynamic, loadEnd };
}

function readDynamic(bytes: Buffer, start: number): ReadonlyMap<number, number> {
  const entries = new Map<number, number>();
  for (let at = start; readNumber(bytes, at) !== 0; at += 16) entries.set(readNumber(bytes, at), readNumber(bytes, at + 8));
  return entries;
}

/** Eight bytes whose value is an offset in a small file, or a small number. */
const readNumber = (bytes: Buffer, at: number): number => Number(bytes.readBigUInt64LE(at));
