import type { CompiledFault, FaultLayer, Verdict } from "../fault-layer.ts";
import type { Name } from "../file-operations.ts";
import type { ThreadMemory } from "./fuse-native.ts";

/** An operation before it is carried out. */
export interface Operation {
  readonly thread: ThreadMemory;
  /** Number of the kernel's request: libfuse may call several times for one, which is one operation all the same. */
  readonly request: bigint;
  /** As Chaos Mesh names it. */
  readonly method: string;
  readonly paths: readonly Name[];
}

/** Either of them is called, once: at once, or when a latency is over. */
export interface WaysOn {
  readonly goOn: (verdict: Verdict | undefined) => void;
  readonly fail: (errno: number) => void;
}

interface Held extends WaysOn {
  readonly verdict: Verdict;
  /** When its delay is over, as `performance.now()` counts. */
  readonly goesOnMs: number;
  timer: NodeJS.Timeout | undefined;
}

const MOST_PATHS = 10_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Lets operations wait, fail or pass as the faults want. */
export class FaultGate {
  readonly #faults: FaultLayer;
  readonly #nowMs: () => number;
  readonly #held = new Set<Held>();
  readonly #judged = new WeakMap<ThreadMemory, bigint>();
  readonly #matched = new Map<Name, readonly CompiledFault[]>();
  #epoch = -1;

  constructor({ faults, nowMs }: { readonly faults: FaultLayer; readonly nowMs: () => number }) {
    this.#faults = faults;
    this.#nowMs = nowMs;
  }

  pass({ thread, request, method, paths }: Operation, ways: WaysOn): void {
    if (this.#faults.isIdle || this.#judged.get(thread) === request) return ways.goOn(undefined);
    this.#judged.set(thread, request);
    this.#faults.see(method);
    const verdict = this.#faults.judge(method, this.faultsOn(paths));
    if (verdict === undefined) return ways.goOn(undefined);
    if (verdict.delayMs <= 0) return this.#goOn(verdict, ways);
    const held: Held = { ...ways, verdict, goesOnMs: this.#nowMs() + verdict.delayMs, timer: undefined };
    this.#held.add(held);
    this.#waitFor(held);
  }

  /** Ends all waiting for faults that are over. To be called when the rules have changed. */
  onRulesChanged(): void {
    for (const held of this.#held) this.#waitFor(held);
  }

  faultsOn(paths: readonly Name[]): readonly CompiledFault[] {
    const [first, second] = paths;
    if (first === undefined) return [];
    if (second === undefined) return this.#faultsAt(first);
    return [...new Set([...this.#faultsAt(first), ...this.#faultsAt(second)])];
  }

  /** Until its delay is over, or a fault that delays it: faults may last longer or less long than when it came. */
  #waitFor(held: Held): void {
    clearTimeout(held.timer);
    const latencies = latenciesOf(held.verdict);
    const leftMs = Math.min(held.goesOnMs, ...latencies.map(({ endMs }) => endMs)) - this.#nowMs();
    if (leftMs > 0 && latencies.every((fault) => this.#faults.isInForce(fault)))
      held.timer = setTimeout(() => this.#waitFor(held), Math.min(Math.ceil(leftMs), LONGEST_TIMER_MS));
    else if (this.#held.delete(held)) this.#goOn(held.verdict, held);
  }

  /** A fault that ended while the operation waited has no effect on it any more. */
  #goOn(verdict: Verdict, { goOn, fail }: WaysOn): void {
    const inForce = verdict.faults.filter((fault) => this.#faults.isInForce(fault));
    for (const { io } of inForce) if (io.effect?.$case === "error") return fail(io.effect.value.errno);
    goOn(inForce.length === 0 ? undefined : { ...verdict, faults: inForce });
  }

  #faultsAt(path: Name): readonly CompiledFault[] {
    if (this.#epoch !== this.#faults.epoch || this.#matched.size > MOST_PATHS) {
      this.#matched.clear();
      this.#epoch = this.#faults.epoch;
    }
    let matched = this.#matched.get(path);
    if (matched === undefined) {
      matched = this.#faults.faultsAt(path);
      this.#matched.set(path, matched);
    }
    return matched;
  }
}

const latenciesOf = ({ faults }: Verdict): readonly CompiledFault[] => faults.filter(({ io }) => io.effect?.$case === "latency");
