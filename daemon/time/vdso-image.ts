import { readFileSync } from "node:fs";
import { ProcessMemory } from "./process-memory.ts";

/** A function of the vDSO: where it is in the image, in bytes. */
export interface VdsoFunction {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
}

/** What is in a vDSO, see vdso(7) and elf(5). */
export interface VdsoImage {
  readonly bytes: Buffer;
  readonly functions: readonly VdsoFunction[];
  /** Where everything that the ELF headers speak of ends; zeros follow up to the end of the page. */
  readonly end: number;
}

/** The image cannot be patched, and why; for people. */
export class VdsoError extends Error {
  override readonly name = "VdsoError";
}

const DT = { hash: 4, strtab: 5, symtab: 6 } as const;
const PT = { load: 1, dynamic: 2 } as const;
const STT_FUNC = 2;
const EM_X86_64 = 62;

/** This process's own image, which is that of every 64-bit process of the kernel. */
export function readOwnImage(): VdsoImage {
  const memory = ProcessMemory.open(process.pid);
  if (memory === undefined) throw new VdsoError("This process cannot read its own memory.");
  try {
    return parseVdso(memory.read());
  } finally {
    memory.close();
  }
}

/** Reads the dynamic symbols of an image. Throws VdsoError for what is none of x86-64. */
export function parseVdso(bytes: Buffer): VdsoImage {
  if (bytes.length < 64 || bytes.readUInt32BE(0) !== 0x7f454c46 || bytes[4] !== 2) throw new VdsoError("The vDSO is no 64-bit ELF image.");
  if (bytes.readUInt16LE(18) !== EM_X86_64) throw new VdsoError(`Clocks cannot be skewed on ${process.arch} yet, only on x86-64.`);
  const word = (at: number): number => Number(bytes.readBigUInt64LE(at));
  const headers = { at: word(32), count: bytes.readUInt16LE(56) };
  const segments = Array.from({ length: headers.count }, (_, index) => headers.at + index * 56).map((at) => ({
    type: bytes.readUInt32LE(at),
    offset: word(at + 8),
    size: word(at + 32),
  }));
  const dynamic = segments.find(({ type }) => type === PT.dynamic);
  if (dynamic === undefined) throw new VdsoError("The vDSO has no dynamic section.");
  const tags = new Map<number, number>();
  for (let at = dynamic.offset; at + 16 <= bytes.length && word(at) !== 0; at += 16) tags.set(word(at), word(at + 8));
  const [symbols = 0, names = 0, hash] = [tags.get(DT.symtab), tags.get(DT.strtab), tags.get(DT.hash)];
  const count = hash === undefined ? Math.floor((names - symbols) / 24) : bytes.readUInt32LE(hash + 4);
  const functions = Array.from({ length: count }, (_, index) => symbols + index * 24).flatMap((at): readonly VdsoFunction[] => {
    const [name, offset] = [names + bytes.readUInt32LE(at), word(at + 8)];
    const isFunction = ((bytes[at + 4] ?? 0) & 15) === STT_FUNC && offset !== 0;
    return isFunction ? [{ name: bytes.toString("latin1", name, bytes.indexOf(0, name)), offset, size: word(at + 16) }] : [];
  });
  const sections = { at: word(40), size: bytes.readUInt16LE(58), count: bytes.readUInt16LE(60) };
  const ends = segments.filter(({ type }) => type === PT.load).map(({ offset, size }) => offset + size);
  return { bytes, functions, end: Math.max(...ends, sections.at + sections.size * sections.count) };
}

/** Where a process's vDSO is mapped; undefined for one that is gone. Throws VdsoError for a program without. See proc_pid_maps(5). */
export function findVdso(pid: number): { readonly start: number; readonly end: number } | undefined {
  let maps: string;
  try {
    maps = readFileSync(`/proc/${pid}/maps`, "latin1");
  } catch {
    return undefined; // it has ended
  }
  const [, start, end] = /^([0-9a-f]+)-([0-9a-f]+) .* \[vdso\]$/m.exec(maps) ?? [];
  if (start !== undefined && end !== undefined) return { start: Number.parseInt(start, 16), end: Number.parseInt(end, 16) };
  if (maps === "") return undefined; // nobody has waited for it yet, or it is a thread of the kernel
  throw new VdsoError(`Process ${pid} has no vDSO.`);
}
