import type { Position } from "../../daemon/time/ptrace.ts";
import type { StoppedProcess, Stopper } from "../../daemon/time/stop-process.ts";
import type { TargetMemory } from "../../daemon/time/target-process.ts";

/** Address of the vDSO in a fake process, and of a stack far away from it. */
export const FAKE_BASE = 0x7fff_0000_0000;
export const FAKE_STACK = 0x7ffe_0000_0000;

/** A process as far as patching can see it. */
export interface FakeTarget {
  readonly memory: TargetMemory;
  readonly stopper: Stopper;
  /** The vDSO as it is now. */
  readonly image: Buffer;
  /** Memory at FAKE_STACK. */
  readonly stack: Buffer;
  /** What was written, in order, and whether the process was stopped then. */
  readonly writes: { readonly offset: number; readonly length: number; readonly isStopped: boolean }[];
  /** Where its threads stand when it is stopped. */
  positions: readonly (Position | undefined)[];
  /** The patcher dies, or the process ends, instead of the write after so many. */
  writesLeft: number;
  stops: number;
}

/** Thrown in place of the write that the patcher does not live to make. */
export const patcherDied = new Error("The patcher died.");

/** A process with this vDSO, and one thread that is somewhere else. */
export function fakeTarget(vdso: Buffer): FakeTarget {
  const regions: readonly { readonly at: number; readonly bytes: Buffer }[] = [
    { at: FAKE_BASE, bytes: Buffer.from(vdso) },
    { at: FAKE_STACK, bytes: Buffer.alloc(65_536) },
  ];
  const [image, stack] = regions.map(({ bytes }) => bytes);
  if (image === undefined || stack === undefined) throw new Error("A fake process needs memory.");
  let isStopped = false;
  const target: FakeTarget = {
    image,
    stack,
    writes: [],
    positions: [{ counter: 0x40_0000, stack: FAKE_STACK }],
    writesLeft: Number.POSITIVE_INFINITY,
    stops: 0,
    memory: {
      pid: 1,
      base: FAKE_BASE,
      read(offset, length) {
        const bytes = Buffer.alloc(length);
        return bytes.subarray(0, target.memory.readInto(offset, bytes));
      },
      readInto(offset, bytes) {
        const address = FAKE_BASE + offset;
        const region = regions.find(({ at, bytes: there }) => address >= at && address < at + there.length);
        return region === undefined ? 0 : region.bytes.copy(bytes, 0, address - region.at);
      },
      write(offset, bytes) {
        if (target.writesLeft-- <= 0) throw patcherDied;
        target.writes.push({ offset, length: bytes.length, isStopped });
        bytes.copy(image, offset);
      },
      close: () => {},
    },
    stopper: {
      during<T>(_pid: number, act: (stopped: StoppedProcess) => T): T {
        target.stops++;
        isStopped = true;
        try {
          return act({ positions: target.positions });
        } finally {
          isStopped = false;
        }
      },
    },
  };
  return target;
}
