/** One instruction of x86-64 machine code. */
export interface Instruction {
  readonly length: number;
  /** Where in it a 32-bit displacement begins that counts from the instruction's end; undefined where there is none. */
  readonly ripAt: number | undefined;
}

/** What follows an opcode: a ModRM byte with its operand or none, and immediate bytes: so many, or 2 or 4, or 2, 4 or 8 by the operand's size. */
interface Shape {
  readonly modrm: boolean;
  readonly immediate: 0 | 1 | "2-or-4" | "2-4-or-8";
}

const plain: Shape = { modrm: false, immediate: 0 };
const modrm: Shape = { modrm: true, immediate: 0 };
const modrmByte: Shape = { modrm: true, immediate: 1 };
const modrmWord: Shape = { modrm: true, immediate: "2-or-4" };
const byte: Shape = { modrm: false, immediate: 1 };
const word: Shape = { modrm: false, immediate: "2-or-4" };

const PREFIXES: ReadonlySet<number> = new Set([0x66, 0x2e, 0x3e, 0xf2, 0xf3]);
const OPERAND_16_BITS = 0x66;

/** Opcodes of one byte that compilers put near a function's start; branches are left out on purpose, they cannot be moved as they are. */
function shapeOf(opcode: number): Shape | undefined {
  if (opcode < 0x40) {
    // add, or, adc, sbb, and, sub, xor, cmp: four forms with ModRM, two with an immediate
    const form = opcode & 7;
    return form < 4 ? modrm : form === 4 ? byte : form === 5 ? word : undefined;
  }
  if ((opcode >= 0x50 && opcode <= 0x5f) || opcode === 0x90) return plain;
  if (opcode === 0x63 || (opcode >= 0x84 && opcode <= 0x8b) || opcode === 0x8d || opcode === 0xd1 || opcode === 0xd3) return modrm;
  if ([0x6b, 0x80, 0x83, 0xc0, 0xc1, 0xc6].includes(opcode)) return modrmByte;
  if ([0x69, 0x81, 0xc7].includes(opcode)) return modrmWord;
  if (opcode >= 0xb8 && opcode <= 0xbf) return { modrm: false, immediate: "2-4-or-8" };
  if (opcode === 0xa8) return byte;
  return opcode === 0xa9 ? word : undefined;
}

/** Opcodes after 0f. */
function shapeOfTwoBytes(opcode: number): Shape | undefined {
  if (opcode >= 0x40 && opcode < 0x50) return modrm; // cmovcc
  if (opcode === 0xba) return modrmByte; // bt, bts, btr, btc with an immediate
  return [0x10, 0x11, 0x1e, 0x1f, 0x28, 0x29, 0x57, 0xa3, 0xaf, 0xb6, 0xb7, 0xbe, 0xbf, 0xef].includes(opcode) ? modrm : undefined;
}

/**
 * Reads the instruction at `start`. Undefined for a branch and for whatever is not known: who moves code must then give up. See Intel's manual,
 * volume 2, chapter 2.
 */
export function decodeInstruction(bytes: Buffer, start: number): Instruction | undefined {
  let at = start;
  let is16Bits = false;
  for (; PREFIXES.has(bytes.readUInt8(at)); at++) is16Bits ||= bytes.readUInt8(at) === OPERAND_16_BITS;
  const rex = (bytes.readUInt8(at) & 0xf0) === 0x40 ? bytes.readUInt8(at++) : 0;
  const is64Bits = (rex & 8) !== 0;
  const first = bytes.readUInt8(at++);
  const shape = first === 0x0f ? shapeOfTwoBytes(bytes.readUInt8(at++)) : shapeOf(first);
  if (shape === undefined) return undefined;
  let ripAt: number | undefined;
  if (shape.modrm) {
    const operand = readOperand(bytes, at);
    if (operand.ripAt !== undefined) ripAt = operand.ripAt - start;
    at = operand.end;
  }
  return { length: at + immediateLength(shape.immediate, { is16Bits, is64Bits }) - start, ripAt };
}

function immediateLength(immediate: Shape["immediate"], size: { readonly is16Bits: boolean; readonly is64Bits: boolean }): number {
  if (typeof immediate === "number") return immediate;
  if (size.is64Bits) return immediate === "2-4-or-8" ? 8 : 4;
  return size.is16Bits ? 2 : 4;
}

/** A ModRM byte, and the SIB byte and the displacement that it asks for. */
function readOperand(bytes: Buffer, start: number): { readonly end: number; readonly ripAt: number | undefined } {
  const mode = bytes.readUInt8(start) >> 6;
  const register = bytes.readUInt8(start) & 7;
  let end = start + 1;
  if (mode === 3) return { end, ripAt: undefined };
  // Mode 0 has no displacement but with register 5: there, or as the base in a SIB byte.
  const hasSib = register === 4;
  const base = hasSib ? bytes.readUInt8(end++) & 7 : register;
  const isWide = mode === 2 || (mode === 0 && base === 5);
  const ripAt = mode === 0 && base === 5 && !hasSib ? end : undefined;
  if (isWide) end += 4;
  else if (mode === 1) end += 1;
  return { end, ripAt };
}

/** Length of the padding instruction at `start` (a form of nop, or int3); 0 where there is none. */
export function paddingLength(bytes: Buffer, start: number): number {
  const first = bytes.readUInt8(start);
  if (first === 0x90 || first === 0xcc) return 1;
  let at = start;
  while (bytes[at] === OPERAND_16_BITS || bytes[at] === 0x2e) at++;
  if (bytes[at] === 0x90) return at - start + 1;
  return bytes[at] === 0x0f && bytes[at + 1] === 0x1f ? (decodeInstruction(bytes, start)?.length ?? 0) : 0;
}
