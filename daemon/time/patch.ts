import { assemble, type Code, long } from "./assembler.ts";
import { findHookPoints, type HookPoint } from "./hook-points.ts";
import { CLOCKS, TABLE_BYTES } from "./skew-table.ts";
import { type VdsoFunction, type VdsoImage, VdsoError } from "./vdso-image.ts";

/**
 * How an image is changed so that clocks can be off. All of it follows from the pristine image, so that nothing has to be remembered to take it
 * back. In the zeros behind the image:
 *
 * | byte         | what |
 * | ------------ | ---- |
 * | 0            | our mark |
 * | 8            | which table holds: 0 none, `tableChoices[n]` the n-th |
 * | 16, 176      | two tables of offsets, see skew-table.ts |
 * | 336          | code |
 */
export interface Patch {
  readonly pristine: Buffer;
  /** The image with the patch in it, and no table chosen. */
  readonly patched: Buffer;
  /** Where the mark is in the image, and where the code behind it ends. */
  readonly at: number;
  readonly end: number;
  /** Words of eight bytes, by offset, in the order in which they are written: first nobody jumps there yet. */
  readonly relayWords: readonly number[];
  readonly hookWords: readonly number[];
  /** Parts of the image in which a thread that runs our code may stand. */
  readonly codeRanges: readonly (readonly [from: number, to: number])[];
}

export const MARK = Buffer.from("squall1\0", "latin1");
export const CHOICE_AT = 8;
const TABLES_AT = 16;
export const CODE_AT = TABLES_AT + 2 * TABLE_BYTES;
/** As the code counts: entries of 16 bytes from the mark on. */
export const tableChoices = [1, 1 + CLOCKS] as const;
/** Where in the image each table begins, from the mark on. */
export const tableOffsets = [TABLES_AT, TABLES_AT + TABLE_BYTES] as const;

const names = { clockGettime: "__vdso_clock_gettime", gettimeofday: "__vdso_gettimeofday", time: "__vdso_time" } as const;
const CLOCK_REALTIME_COARSE = 5;

/** Throws VdsoError where this kernel's image cannot be patched. */
export function planPatch(image: VdsoImage): Patch {
  const functionOf = (name: string): readonly VdsoFunction[] => image.functions.filter((one) => one.name === name).slice(0, 1);
  if (functionOf(names.clockGettime).length === 0) throw new VdsoError("The vDSO has no clock_gettime.");
  const hooks = findHookPoints(image, Object.values(names).flatMap(functionOf));
  const { bytes: pristine } = image;
  const at = (Math.max(image.end, lengthWithoutZeros(pristine)) + 63) & ~63;
  const { bytes: code, labels } = assembleCode(pristine, hooks, at);
  const end = (at + CODE_AT + code.length + 7) & ~7;
  if (end > pristine.length)
    throw new VdsoError(`The vDSO has ${pristine.length - at} bytes of room at its end, and the code needs ${end - at}.`);

  const patched = Buffer.from(pristine);
  MARK.copy(patched, at);
  code.copy(patched, at + CODE_AT);
  const [relayWords, hookWords] = [new Set<number>(), new Set<number>()];
  const wordsOf = (from: number, length: number): readonly number[] => [from & ~7, (from + length - 1) & ~7];
  for (const [name, hook] of hooks) {
    const target = labels.get(name) ?? 0;
    const jumpAt = hook.relay ?? hook.at;
    patched[jumpAt] = 0xe9;
    patched.writeInt32LE(target - (jumpAt + 5), jumpAt + 1);
    for (const word of wordsOf(jumpAt, 5)) (hook.relay === undefined ? hookWords : relayWords).add(word);
    if (hook.relay === undefined) continue;
    patched[hook.at] = 0xeb;
    patched.writeInt8(hook.relay - (hook.at + 2), hook.at + 1);
    for (const word of wordsOf(hook.at, 2)) hookWords.add(word);
  }
  if ([...relayWords].some((word) => hookWords.has(word))) throw new VdsoError("The padding between the vDSO's functions is too narrow.");
  const relays = [...hooks.values()].flatMap(({ relay }) => (relay === undefined ? [] : [[relay, relay + 5] as const]));
  return { pristine, patched, at, end, relayWords: [...relayWords], hookWords: [...hookWords], codeRanges: [[at, pristine.length], ...relays] };
}

function lengthWithoutZeros(bytes: Buffer): number {
  let length = bytes.length;
  while (length > 0 && bytes[length - 1] === 0) length -= 1;
  return length;
}

/** Labels are the names of the hooked functions. */
function assembleCode(pristine: Buffer, hooks: ReadonlyMap<string, HookPoint>, at: number): ReturnType<typeof assemble> {
  const known = new Map([
    ["base", at],
    ["choice", at + CHOICE_AT],
  ]);
  const to = (label: string, tail = 0): Code[number] => ({ to: label, bytes: 4, tail });
  const near = (label: string): Code[number] => ({ to: label, bytes: 1 });

  /** What the function did before the hook, and a jump to what it does behind: calls it as it was. */
  const original = (name: string, { moved, next }: HookPoint): Code => {
    known.set(`${name} behind`, next);
    const code = moved.flatMap(({ offset, length, relativeAt }): Code => {
      const bytes = [...pristine.subarray(offset, offset + length)];
      if (relativeAt === undefined) return bytes;
      const target = offset + length + pristine.readInt32LE(offset + relativeAt);
      known.set(`at ${target}`, target);
      return [...bytes.slice(0, relativeAt), to(`at ${target}`, length - relativeAt - 4), ...bytes.slice(relativeAt + 4)];
    });
    return [`${name} original:`, ...code, 0xe9, to(`${name} behind`)];
  };
  /** r8 = the entry of the clock in edi, or of CLOCK_REALTIME; goes to the original where no table holds or the clock is not off. */
  const findEntry = (name: string, { ofClock }: { readonly ofClock: "edi" | "realtime" }): Code => [
    ...[0x0f, 0xb6, 0x05], to("choice"), // movzx eax, byte [choice]
    ...[0x85, 0xc0], // test eax, eax
    ...[0x0f, 0x84], to(`${name} original`), // jz
    ...(ofClock === "edi" ? [0x01, 0xf8] : []), // add eax, edi
    ...[0xc1, 0xe0, 0x04], // shl eax, 4
    ...[0x4c, 0x8d, 0x05], to("base"), // lea r8, [base]
    ...[0x49, 0x01, 0xc0], // add r8, rax
    ...[0x49, 0x83, 0x38, 0x00], // cmp qword [r8], 0
    ...[0x0f, 0x84], to(`${name} original`), // jz
  ];

  const parts = [...hooks].map(([name, hook]): Code => {
    const begin: Code = [`${name}:`, ...hook.undo];
    switch (name) {
      case names.clockGettime:
        return [
          ...begin,
          ...[0x83, 0xff, CLOCKS - 1], // cmp edi, 9
          ...[0x0f, 0x87], to(`${name} original`), // ja
          ...findEntry(name, { ofClock: "edi" }),
          // Reads the clock in edi into a timespec on the stack, so that nobody ever sees a native value in the caller's, and adds what r8 says.
          "skewed:",
          0x56, // push rsi: the caller's timespec
          ...[0x41, 0xff, 0x30], // push [r8]: offset, 34 bits of seconds and 30 of nanoseconds
          ...[0x41, 0xff, 0x70, 0x08], // push [r8 + 8]: until
          ...[0x48, 0x83, 0xec, 0x10], // sub rsp, 16
          ...[0x48, 0x89, 0xe6], // mov rsi, rsp
          0xe8, to(`${name} original`), // call
          ...[0x85, 0xc0], // test eax, eax
          0x75, near("failed"), // jnz
          0x59, // pop rcx: seconds
          0x5a, // pop rdx: nanoseconds
          ...[0x41, 0x58], // pop r8: until
          0x58, // pop rax: offset
          0x5e, // pop rsi
          ...[0x4c, 0x39, 0xc1], // cmp rcx, r8
          0x7d, near("store"), // jge: its time is over
          ...[0x41, 0x89, 0xc0], // mov r8d, eax
          ...[0x41, 0x81, 0xe0, ...long(0x3fffffff)], // and r8d, 2^30 - 1
          ...[0x48, 0xc1, 0xf8, 0x1e], // sar rax, 30
          ...[0x48, 0x01, 0xc1], // add rcx, rax
          ...[0x4c, 0x01, 0xc2], // add rdx, r8
          ...[0x48, 0x81, 0xfa, ...long(1_000_000_000)], // cmp rdx, 10^9
          0x7c, near("store"), // jl
          ...[0x48, 0x81, 0xea, ...long(1_000_000_000)], // sub rdx, 10^9
          ...[0x48, 0xff, 0xc1], // inc rcx
          "store:",
          ...[0x48, 0x89, 0x0e], // mov [rsi], rcx
          ...[0x48, 0x89, 0x56, 0x08], // mov [rsi + 8], rdx
          ...[0x31, 0xc0, 0xc3], // xor eax, eax; ret
          "failed:",
          ...[0x48, 0x83, 0xc4, 0x28, 0xc3], // add rsp, 40; ret
          ...original(name, hook),
        ];
      case names.gettimeofday:
        return [
          ...begin,
          ...findEntry(name, { ofClock: "realtime" }),
          ...[0x57, 0x56], // push rdi; push rsi
          ...[0x48, 0x83, 0xec, 0x18], // sub rsp, 24
          ...[0x31, 0xff], // xor edi, edi
          ...[0x48, 0x89, 0xe6], // mov rsi, rsp
          0xe8, to("skewed"), // call
          ...[0x48, 0x8b, 0x14, 0x24], // mov rdx, [rsp]
          ...[0x8b, 0x44, 0x24, 0x08], // mov eax, [rsp + 8]
          ...[0x48, 0x83, 0xc4, 0x18], // add rsp, 24
          ...[0x5e, 0x5f], // pop rsi; pop rdi
          ...[0x48, 0x85, 0xff], // test rdi, rdi
          0x74, near("no timeval"), // jz
          ...[0x48, 0x89, 0x17], // mov [rdi], rdx
          ...[0x48, 0x69, 0xc0, ...long(0x10624dd3)], // imul rax, rax, 2^38 / 1000
          ...[0x48, 0xc1, 0xe8, 0x26], // shr rax, 38
          ...[0x48, 0x89, 0x47, 0x08], // mov [rdi + 8], rax
          "no timeval:",
          ...[0x48, 0x85, 0xf6], // test rsi, rsi
          0x74, near("no zone"), // jz
          ...[0x31, 0xff], // xor edi, edi
          0xe9, to(`${name} original`), // jmp: the time zone alone
          "no zone:",
          ...[0x31, 0xc0, 0xc3], // xor eax, eax; ret
          ...original(name, hook),
        ];
      default:
        return [
          ...begin,
          ...findEntry(name, { ofClock: "realtime" }),
          0x57, // push rdi
          ...[0x48, 0x83, 0xec, 0x10], // sub rsp, 16
          ...[0xbf, ...long(CLOCK_REALTIME_COARSE)], // mov edi
          ...[0x48, 0x89, 0xe6], // mov rsi, rsp
          0xe8, to("skewed"), // call
          ...[0x58, 0x5f, 0x5f], // pop rax: seconds; pop rdi: nanoseconds; pop rdi
          ...[0x48, 0x85, 0xff], // test rdi, rdi
          ...[0x74, 0x03], // jz over the next
          ...[0x48, 0x89, 0x07], // mov [rdi], rax
          0xc3,
          ...original(name, hook),
        ];
    }
  });
  return assemble(parts.flat(), at + CODE_AT, known);
}
