import { assemble, far, type Item, label, near, word } from "./assemble.ts";
import type { HookPoint } from "./hook-point.ts";
import { CLOCKS, ROW } from "./skew-table.ts";

/**
 * What lies in the padding of a patched vDSO: a marker of 8 bytes, the selector, two tables of which the selector names one, and code.
 * Running threads read selector and tables at any time, so these only ever change by whole, aligned words of 8 bytes.
 */
export const layout = { marker: 0x00, selector: 0x08, tables: 0x10, code: 0x180 } as const;

export type HookedName = "clock_gettime" | "gettimeofday" | "time";
export type Hooks = { readonly clock_gettime: HookPoint } & {
  readonly [K in Exclude<HookedName, "clock_gettime">]?: HookPoint | undefined;
};

const BILLION = 1_000_000_000;
const NANOSECONDS_MASK = 2 ** 30 - 1;
const RETURN = 0xc3;

/**
 * Code of the detours, for a payload at `at` (an offset in the vDSO); each begins at the label of its function. It asks the original, adds the offset
 * of the clock's row, and carries; from the moment in the row on, and for clocks without one, it gives what the original gave. The caller never sees
 * a half-made value. Only registers that any function may overwrite are used.
 */
export function assembleDetours(pristine: Buffer, hooks: Hooks, at: number): ReturnType<typeof assemble> {
  const known = new Map([
    ["selector", at + layout.selector],
    ["tables", at + layout.tables],
  ]);
  const { clock_gettime, gettimeofday, time } = hooks;
  const items = [
    ...clockGettime(clock_gettime.takeBack),
    ...original("clock_gettime", pristine, clock_gettime, known),
    ...(gettimeofday ? [...getTimeOfDay(gettimeofday.takeBack), ...original("gettimeofday", pristine, gettimeofday, known)] : []),
    ...(time ? [...getTime(time.takeBack), ...original("time", pristine, time, known)] : []),
  ];
  return assemble(items, at + layout.code, known);
}

/** r9 = the first row of the table in force. The selector is its distance from the first table, in bytes. */
const firstRow: readonly Item[] = [
  ...[0x0f, 0xb6, 0x05, far("selector")], // movzx eax, byte [selector]
  ...[0x4c, 0x8d, 0x0d, far("tables")], //   lea r9, [tables]
  ...[0x49, 0x01, 0xc1], //                  add r9, rax
];

/** mov qword [rsp-8], 0: an address of ours that stayed on the stack would make the thread look as if it were still inside. */
const forgetReturn: readonly Item[] = [0x48, 0xc7, 0x44, 0x24, 0xf8, ...word(0)];

/** Goes to the original where the row at r9 holds no end, and thus no skew. */
const unlessSkewed = (name: HookedName): readonly Item[] => [
  ...[0x49, 0x83, 0x79, 0x08, 0x00], //          cmp qword [r9+8], 0
  ...[0x0f, 0x84, far(`original ${name}`)], //   je original
];

function clockGettime(takeBack: readonly number[]): readonly Item[] {
  return [
    ...[label("clock_gettime"), ...takeBack],
    ...[0x83, 0xff, CLOCKS - 1], //                        cmp edi, 9
    ...[0x0f, 0x87, far("original clock_gettime")], //     ja original      dynamic clocks and CPU clocks of others, as unsigned numbers
    ...firstRow,
    ...[0x89, 0xf8], //                                    mov eax, edi
    ...[0xc1, 0xe0, Math.log2(ROW)], //                    shl eax, 4
    ...[0x49, 0x01, 0xc1], //                              add r9, rax
    ...unlessSkewed("clock_gettime"),
    label("skew"), //                                      edi clock, rsi timespec, r9 row
    ...[0x56, 0x41, 0x51], //                              push rsi; push r9
    ...[0x48, 0x83, 0xec, 0x18], //                        sub rsp, 24      a timespec, and 8 bytes that align the stack
    ...[0x48, 0x89, 0xe6], //                              mov rsi, rsp
    ...[0xe8, far("original clock_gettime")], //           call original
    ...forgetReturn,
    ...[0x85, 0xc0, 0x75, near("failed")], //              test eax, eax; jnz failed
    ...[0x59, 0x5a, 0x58, 0x41, 0x59, 0x5e], //            pop rcx; pop rdx; pop rax; pop r9; pop rsi      seconds, nanoseconds
    ...[0x48, 0x69, 0xc1, ...word(BILLION)], //            imul rax, rcx, 1e9
    ...[0x48, 0x01, 0xd0], //                              add rax, rdx
    ...[0x49, 0x3b, 0x41, 0x08], //                        cmp rax, [r9+8]  has the end come?
    ...[0x7d, near("store")], //                           jge store
    ...[0x49, 0x8b, 0x01], //                              mov rax, [r9]    seconds * 2^30 + nanoseconds
    ...[0x41, 0x89, 0xc0], //                              mov r8d, eax
    ...[0x41, 0x81, 0xe0, ...word(NANOSECONDS_MASK)], //   and r8d, 2^30-1
    ...[0x48, 0xc1, 0xf8, 0x1e], //                        sar rax, 30
    ...[0x48, 0x01, 0xc1], //                              add rcx, rax
    ...[0x4c, 0x01, 0xc2], //                              add rdx, r8
    ...[0x48, 0x81, 0xfa, ...word(BILLION)], //            cmp rdx, 1e9
    ...[0x7c, near("store")], //                           jl store
    ...[0x48, 0x81, 0xea, ...word(BILLION)], //            sub rdx, 1e9
    ...[0x48, 0xff, 0xc1], //                              inc rcx
    label("store"),
    ...[0x48, 0x89, 0x0e, 0x48, 0x89, 0x56, 0x08], //      mov [rsi], rcx; mov [rsi+8], rdx
    ...[0x31, 0xc0, RETURN], //                            xor eax, eax; ret
    label("failed"),
    ...[0x48, 0x83, 0xc4, 0x28, RETURN], //                add rsp, 40; ret
  ];
}

/** CLOCK_REALTIME's row. The time zone, which nobody asks for, comes from the original. */
function getTimeOfDay(takeBack: readonly number[]): readonly Item[] {
  return [
    ...[label("gettimeofday"), ...takeBack],
    ...firstRow,
    ...unlessSkewed("gettimeofday"),
    ...[0x57, 0x56, 0x48, 0x83, 0xec, 0x18], //            push rdi; push rsi; sub rsp, 24
    ...[0x31, 0xff, 0x48, 0x89, 0xe6], //                  xor edi, edi; mov rsi, rsp
    ...[0xe8, far("skew")], //                             call skew
    ...forgetReturn,
    ...[0x48, 0x8b, 0x14, 0x24], //                        mov rdx, [rsp]
    ...[0x8b, 0x44, 0x24, 0x08], //                        mov eax, [rsp+8]
    ...[0x48, 0x83, 0xc4, 0x18, 0x5e, 0x5f], //            add rsp, 24; pop rsi; pop rdi
    ...[0x48, 0x85, 0xff, 0x74, near("no timeval")], //    test rdi, rdi; jz
    ...[0x48, 0x89, 0x17], //                              mov [rdi], rdx
    ...[0x48, 0x69, 0xc0, ...word(0x10624dd3)], //         imul rax, rax, 2^38/1000
    ...[0x48, 0xc1, 0xe8, 0x26], //                        shr rax, 38      = nanoseconds / 1000
    ...[0x48, 0x89, 0x47, 0x08], //                        mov [rdi+8], rax
    label("no timeval"),
    ...[0x48, 0x85, 0xf6, 0x74, near("no time zone")], //  test rsi, rsi; jz
    ...[0x31, 0xff, 0xe9, far("original gettimeofday")], // xor edi, edi; jmp original
    label("no time zone"),
    ...[0x31, 0xc0, RETURN], //                            xor eax, eax; ret
  ];
}

/** CLOCK_REALTIME's row on the coarse clock, which is what the kernel's time() reads. */
function getTime(takeBack: readonly number[]): readonly Item[] {
  return [
    ...[label("time"), ...takeBack],
    ...firstRow,
    ...unlessSkewed("time"),
    ...[0x57, 0x48, 0x83, 0xec, 0x10], //                  push rdi; sub rsp, 16
    ...[0xbf, ...word(5), 0x48, 0x89, 0xe6], //            mov edi, CLOCK_REALTIME_COARSE; mov rsi, rsp
    ...[0xe8, far("skew")], //                             call skew
    ...forgetReturn,
    ...[0x58, 0x5f, 0x5f], //                              pop rax; pop rdi; pop rdi      seconds
    ...[0x48, 0x85, 0xff, 0x74, near("no pointer")], //    test rdi, rdi; jz
    ...[0x48, 0x89, 0x07], //                              mov [rdi], rax
    label("no pointer"),
    RETURN,
  ];
}

/** The function without its hook: the instructions that the hook moved away, and a jump to the rest. */
function original(name: HookedName, pristine: Buffer, hook: HookPoint, known: Map<string, number>): readonly Item[] {
  known.set(`rest of ${name}`, hook.next);
  const moved = hook.moved.flatMap(({ offset, length, ripAt }): readonly Item[] => {
    const bytes = [...pristine.subarray(offset, offset + length)];
    if (ripAt === undefined) return bytes;
    // What it refers to stays where it is, so the distance to it changes.
    const target = offset + length + pristine.readInt32LE(offset + ripAt);
    known.set(`place ${target}`, target);
    return [...bytes.slice(0, ripAt), far(`place ${target}`, length - ripAt - 4), ...bytes.slice(ripAt + 4)];
  });
  return [label(`original ${name}`), ...moved, 0xe9, far(`rest of ${name}`)];
}
