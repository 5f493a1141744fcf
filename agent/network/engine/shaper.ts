import type { Chance, ClassState, RuleState } from "./rules.ts";

export type Random = () => number;

/** More copies of one packet are not made, however many faults duplicate it. */
const MOST_COPIES = 8;
/** A queueing discipline sees the Ethernet header, too; tc counts it, so rates do here. */
const FRAME_BYTES = 14;

/** What becomes of one packet: each copy with the time at which it is due and the number of bits to flip. One object is filled again and again. */
export interface Copies {
  count: number;
  readonly dueMs: Float64Array;
  readonly flips: Uint8Array;
}

export const newCopies = (): Copies => ({ count: 0, dueMs: new Float64Array(MOST_COPIES), flips: new Uint8Array(MOST_COPIES) });

/**
 * Sends a packet of `bytes` (from its IP header on) through all rules of its class, one after the other, as a chain of netem queueing
 * disciplines would; see tc-netem(8) and the kernel's net/sched/sch_netem.c for the order of the draws and for what a correlation is.
 */
export function shapePacket(
  state: ClassState,
  bytes: number,
  { nowMs, wallMs, random }: { readonly nowMs: number; readonly wallMs: number; readonly random: Random },
  copies: Copies,
): void {
  copies.count = 1;
  copies.dueMs[0] = nowMs;
  copies.flips[0] = 0;
  for (const rule of state.rules) {
    if (copies.count === 0) return;
    const { counters } = rule;
    counters.matched++;
    if (counters.firstMs === 0) counters.firstMs = wallMs;
    counters.lastMs = wallMs;
    const before = copies.count;
    for (let i = before - 1; i >= 0; i--) passRule(rule, i, bytes + FRAME_BYTES, random, copies);
  }
  if (!state.isOrdered || copies.count === 0) return;
  for (let i = 0; i < copies.count; i++) copies.dueMs[i] = Math.max(copies.dueMs[i] ?? 0, state.lastDueMs);
  state.lastDueMs = copies.dueMs[copies.count - 1] ?? 0;
}

function passRule(rule: RuleState, i: number, bytes: number, random: Random, copies: Copies): void {
  const { shape, counters, last } = rule;
  const isLost = (): boolean => isDrawn(shape.loss, last, "loss", random);
  const isDuplicated = isDrawn(shape.duplicate, last, "duplicate", random) && copies.count < MOST_COPIES;
  const arrivedMs = copies.dueMs[i] ?? 0;
  if (isLost()) {
    counters.dropped++;
    if (!isDuplicated) {
      removeCopy(copies, i);
      return;
    }
  } else if (isDuplicated) {
    counters.duplicated++;
    // the kernel sends the copy through the same discipline once more, where it can get lost but not double
    if (isLost()) counters.dropped++;
    else {
      const added = copies.count++;
      copies.dueMs[added] = arrivedMs;
      copies.flips[added] = copies.flips[i] ?? 0;
      finishCopy(rule, added, bytes, random, copies);
    }
  }
  finishCopy(rule, i, bytes, random, copies);
}

/** Corrupts and delays one copy; one that finds the queue of a rate full is lost. */
function finishCopy(rule: RuleState, i: number, bytes: number, random: Random, copies: Copies): void {
  const { shape, counters, last } = rule;
  const arrivedMs = copies.dueMs[i] ?? 0;
  if (isDrawn(shape.corrupt, last, "corrupt", random)) {
    counters.corrupted++;
    copies.flips[i] = (copies.flips[i] ?? 0) + 1;
  }
  const dueMs = dueOf(rule, arrivedMs, bytes, random);
  if (dueMs < 0) {
    counters.dropped++;
    removeCopy(copies, i);
    return;
  }
  if (dueMs > arrivedMs) counters.delayed++;
  copies.dueMs[i] = dueMs;
}

/** The last copy takes the place: the copies after `i` have passed the rule already. */
function removeCopy(copies: Copies, i: number): void {
  const end = --copies.count;
  copies.dueMs[i] = copies.dueMs[end] ?? 0;
  copies.flips[i] = copies.flips[end] ?? 0;
}

/** When a packet that comes at `arrivedMs` leaves this rule; -1 when its queue is full. */
function dueOf(rule: RuleState, arrivedMs: number, bytes: number, random: Random): number {
  const { shape, counters, last } = rule;
  if (shape.bandwidth !== undefined) return leaveBucket(rule, arrivedMs, bytes);
  if (shape.reorder !== undefined) {
    const isCandidate = rule.sinceReorder >= Math.max(shape.reorder.gap, 1) - 1;
    if (isCandidate && isDrawn(shape.reorder, last, "reorder", random)) {
      rule.sinceReorder = 0;
      counters.reordered++;
      return arrivedMs;
    }
    rule.sinceReorder++;
  }
  let dueMs = arrivedMs + shape.latencyUs / 1000;
  if (shape.jitterUs > 0) {
    const draw = correlated(shape.latencyCorrelation, last, "delay", random);
    dueMs = Math.max(arrivedMs, dueMs + (draw * 2 - 1) * (shape.jitterUs / 1000));
  }
  if (shape.rateBitsPerSecond === 0) return dueMs;
  const bytesPerMs = shape.rateBitsPerSecond / 8000;
  const waitingBytes = (rule.lastDueMs - dueMs) * bytesPerMs;
  if (waitingBytes > shape.queueLimitPackets * 1500) return -1;
  rule.lastDueMs = Math.max(dueMs, rule.lastDueMs) + bytes / bytesPerMs;
  return rule.lastDueMs;
}

/** The token bucket of tc-tbf(8). A packet larger than the bucket leaves when the bucket is full, where tc would drop it for ever. */
function leaveBucket(rule: RuleState, arrivedMs: number, bytes: number): number {
  const { bandwidth } = rule.shape;
  if (bandwidth === undefined) return arrivedMs;
  const bytesPerMs = bandwidth.rateBitsPerSecond / 8000;
  const waitingBytes = Math.max(0, rule.lastDueMs - arrivedMs) * bytesPerMs;
  if (waitingBytes + bytes > bandwidth.limitBytes + bandwidth.bufferBytes) return -1;
  const startMs = Math.max(arrivedMs, rule.lastDueMs);
  const { bucket } = rule;
  const sinceMs = startMs - bucket.atMs;
  bucket.bytes = Math.min(bandwidth.bufferBytes, bucket.bytes + sinceMs * bytesPerMs);
  let leavesMs = startMs + Math.max(0, bytes - bucket.bytes) / bytesPerMs;
  if (bandwidth.peakRateBitsPerSecond > 0 && bandwidth.minBurstBytes > 0) {
    const peakPerMs = bandwidth.peakRateBitsPerSecond / 8000;
    bucket.peakBytes = Math.min(bandwidth.minBurstBytes, bucket.peakBytes + sinceMs * peakPerMs);
    leavesMs = Math.max(leavesMs, startMs + Math.max(0, bytes - bucket.peakBytes) / peakPerMs);
    bucket.peakBytes += (leavesMs - startMs) * peakPerMs - bytes;
  }
  bucket.bytes += (leavesMs - startMs) * bytesPerMs - bytes;
  bucket.atMs = leavesMs;
  rule.lastDueMs = leavesMs;
  return leavesMs;
}

function isDrawn({ share, correlation }: Chance, last: RuleState["last"], of: keyof RuleState["last"], random: Random): boolean {
  return share > 0 && correlated(correlation, last, of, random) < share;
}

/** A draw between 0 and 1 that depends on the one before by `correlation`, as the kernel's get_crandom has it: a moving average. */
function correlated(correlation: number, last: RuleState["last"], of: keyof RuleState["last"], random: Random): number {
  if (correlation === 0) return random();
  const draw = random() * (1 - correlation) + last[of] * correlation;
  last[of] = draw;
  return draw;
}
