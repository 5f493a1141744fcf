/** The few x86-64 instructions that stand at the beginning of the vDSO's functions. See the Intel 64 manual, volume 2, chapter 2 and appendix A. */
export interface Instruction {
  readonly offset: number;
  readonly length: number;
  /** Where in it a displacement relative to the instruction pointer stands; undefined for none. */
  readonly relativeAt: number | undefined;
}

const PREFIXES: ReadonlySet<number> = new Set([0x66, 0x2e, 0x3e, 0xf3, 0xf2]);
/** Of two bytes, 0x0f first, with a ModRM byte: nop, endbr, cmovcc, imul, movzx, movsx, bt, SSE moves. */
const LONG_WITH_MODRM: ReadonlySet<number> = new Set([0x1f, 0x1e, 0xaf, 0xb6, 0xb7, 0xbe, 0xbf, 0x10, 0x11, 0x28, 0x29, 0xa3, 0xef, 0x57]);
const WITH_MODRM: ReadonlySet<number> = new Set([0x63, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8d, 0xd1, 0xd3]);
const WITH_MODRM_AND_BYTE: ReadonlySet<number> = new Set([0x80, 0x83, 0xc0, 0xc1, 0x6b, 0xc6]);
const WITH_MODRM_AND_LONG: ReadonlySet<number> = new Set([0x81, 0x69, 0xc7]);

/** Undefined for an instruction that is not known here, and for every branch. */
export function decodeInstruction(code: Buffer, offset: number): Instruction | undefined {
  let at = offset;
  let isShort = false;
  for (; PREFIXES.has(code[at] ?? 0); at++) isShort ||= code[at] === 0x66;
  const rex = ((code[at] ?? 0) & 0xf0) === 0x40 ? (code[at++] ?? 0) : 0;
  const form = formOf(code, at, { isShort, isWide: (rex & 8) !== 0 });
  if (form === undefined) return undefined;
  at += form.opcodeBytes;
  let relativeAt: number | undefined;
  if (form.hasModrm) {
    const modrm = code[at++] ?? 0;
    const [mode, rm] = [modrm >> 6, modrm & 7];
    if (mode !== 3) {
      const base = rm === 4 ? (code[at++] ?? 0) & 7 : undefined;
      if (mode === 0 && rm === 5) relativeAt = at - offset;
      if (mode === 1) at += 1;
      else if (mode === 2 || (mode === 0 && (rm === 5 || base === 5))) at += 4;
    }
  }
  return { offset, length: at + form.immediateBytes - offset, relativeAt };
}

interface Form {
  readonly opcodeBytes: number;
  readonly hasModrm: boolean;
  readonly immediateBytes: number;
}

function formOf(code: Buffer, at: number, { isShort, isWide }: { readonly isShort: boolean; readonly isWide: boolean }): Form | undefined {
  const opcode = code[at] ?? 0;
  const long = isShort ? 2 : 4;
  const form = (hasModrm: boolean, immediateBytes = 0, opcodeBytes = 1): Form => ({ opcodeBytes, hasModrm, immediateBytes });
  if (opcode === 0x0f) {
    const second = code[at + 1] ?? 0;
    if (LONG_WITH_MODRM.has(second) || (second >= 0x40 && second < 0x50)) return form(true, 0, 2);
    return second === 0xba ? form(true, 1, 2) : undefined;
  }
  if ((opcode >= 0x50 && opcode <= 0x5f) || opcode === 0x90) return form(false);
  if (opcode < 0x40) return [form(true), form(true), form(true), form(true), form(false, 1), form(false, long), undefined, undefined][opcode & 7];
  if (WITH_MODRM.has(opcode)) return form(true);
  if (WITH_MODRM_AND_BYTE.has(opcode)) return form(true, 1);
  if (WITH_MODRM_AND_LONG.has(opcode)) return form(true, long);
  if (opcode >= 0xb8 && opcode <= 0xbf) return form(false, isWide ? 8 : long);
  if (opcode === 0xa8) return form(false, 1);
  return opcode === 0xa9 ? form(false, long) : undefined;
}

/** Length of the padding instruction at an offset: a form of nop, or int3; 0 for anything else. */
export function paddingLength(code: Buffer, offset: number): number {
  if (code[offset] === 0x90 || code[offset] === 0xcc) return 1;
  let at = offset;
  while (code[at] === 0x66 || code[at] === 0x2e) at++;
  if (code[at] === 0x90) return at - offset + 1;
  return code[at] === 0x0f && code[at + 1] === 0x1f ? (decodeInstruction(code, offset)?.length ?? 0) : 0;
}
