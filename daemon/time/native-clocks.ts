import { readFileSync, readlinkSync } from "node:fs";
import koffi from "koffi";
import type { NativeClocks } from "./skew-table.ts";

/** Reads the clocks of this process and tells what those of others say, who may live in a time namespace of their own (time_namespaces(7)). */
export interface ClockReader {
  read(pid: number): NativeClocks;
}

/** Clocks with an end of their own, and the one that each of them follows. */
const followed: Readonly<Record<number, number>> = { 0: 0, 1: 1, 4: 4, 5: 0, 6: 1, 7: 7, 8: 0, 9: 7 };
/** Whether a time namespace shifts a clock, and by which line of timens_offsets. */
const namespaced: Readonly<Record<number, string>> = { 1: "monotonic", 4: "monotonic", 7: "boottime" };
const BILLION = 1_000_000_000n;

export function createClockReader(): ClockReader {
  const clockGettime: (clock: number, time: Buffer) => number = koffi.load(null).func("int clock_gettime(int, void*)");
  const time = Buffer.alloc(16);
  const own = readlinkNamespace("self");
  return {
    read(pid) {
      const shifts = readlinkNamespace(pid) === own ? undefined : { own: readShifts("self"), other: readShifts(pid) };
      const values = new Map<number, bigint>();
      for (const clock of [0, 1, 4, 7]) {
        if (clockGettime(clock, time) !== 0) continue;
        const line = namespaced[clock];
        const shift = shifts === undefined || line === undefined ? 0n : (shifts.other.get(line) ?? 0n) - (shifts.own.get(line) ?? 0n);
        values.set(clock, time.readBigInt64LE(0) * BILLION + time.readBigInt64LE(8) + shift);
      }
      return new Map(Object.entries(followed).map(([clock, base]) => [Number(clock), values.get(base) ?? 0n]));
    },
  };
}

/** Undefined where the kernel has none, or the process is gone. */
function readlinkNamespace(pid: number | "self"): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/time`);
  } catch {
    return undefined; // every process then lives in the same time
  }
}

/** By name of the clock, in nanoseconds: lines such as `monotonic  -86400  0`. */
function readShifts(pid: number | "self"): ReadonlyMap<string, bigint> {
  try {
    const lines = readFileSync(`/proc/${pid}/timens_offsets`, "latin1").trim().split("\n");
    return new Map(
      lines
        .map((line) => line.trim().split(/\s+/))
        .map(([name = "", seconds = "0", rest = "0"]) => [name, BigInt(seconds) * BILLION + BigInt(rest)]),
    );
  } catch {
    return new Map(); // gone, or a kernel without time namespaces
  }
}
