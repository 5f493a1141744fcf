import type { Destinations } from "./destinations.ts";
import { newReceivedMessage, readMessage, verdicts } from "./netlink.ts";
import { destinationOf, fragmentIpv4, isIpv4, mayFragment } from "./packet.ts";
import { RECEIVE_SLOT_BYTES, type Receiver } from "./receiver.ts";
import { drawDelayMs, drawLoss, type Random } from "./rules.ts";
import type { Schedule } from "./schedule.ts";
import type { Slots } from "./slots.ts";
import type { VerdictWriter } from "./verdict-writer.ts";

/** What came in and what became of it, beyond the counters of single faults. */
export interface IntakeCounters {
  received: number;
  /** Passed at once because no fault wants anything of them. */
  passed: number;
  /** Should have been held, and passed at once instead: no memory left within the bound. */
  overflow: number;
  /** Larger than the device's MTU with the DF bit set: passed, so that the kernel answers the sender as it always does. */
  tooLarge: number;
  /** Cut into fragments by us. */
  fragmented: number;
  /** Passed: not IPv4, or cut off by the kernel while copying. */
  notUnderstood: number;
}

export const newIntakeCounters = (): IntakeCounters => ({
  received: 0,
  passed: 0,
  overflow: 0,
  tooLarge: 0,
  fragmented: 0,
  notUnderstood: 0,
});

/** Decides about packets and puts those to be held into the schedule. */
export interface Intake {
  /** Takes one batch from the queue and answers for it; returns how many messages there were. */
  takeBatch(nowMs: number, wallMs: number): number;
}

/** A slot this small is worth a copy: the large one stays for receiving. */
const SMALL_BYTES = 256;

export interface IntakeParts {
  readonly receiver: Receiver;
  readonly slots: Slots;
  readonly destinations: Destinations;
  readonly schedule: Schedule;
  readonly verdictWriter: VerdictWriter;
  readonly counters: IntakeCounters;
  readonly mtuOf: (device: number, nowMs: number) => number;
  readonly random: Random;
}

export function createIntake({ receiver, slots, destinations, schedule, verdictWriter, counters, mtuOf, random }: IntakeParts): Intake {
  const message = newReceivedMessage();

  /** Holds the packet of message `i`, which lies in `slot`; false when there is no room. */
  function hold(i: number, slot: number, dueMs: number): boolean {
    const length = message.packetLength;
    const inChunk = message.packetStart;
    if (receiver.isSpilled(i)) {
      slots.setPacket(slot, inChunk, length, message.mark); // the caller made `slot` for it
      schedule.push(dueMs, slot);
      return true;
    }
    const small = length <= SMALL_BYTES;
    const fresh = slots.take(small ? length : RECEIVE_SLOT_BYTES);
    if (fresh < 0) return false;
    if (small) {
      const start = slots.startOf(fresh);
      slots.memoryOf(slot).copy(slots.memoryOf(fresh), start, inChunk, inChunk + length);
      slots.setPacket(fresh, start, length, message.mark);
      schedule.push(dueMs, fresh);
    } else {
      receiver.exchangeSlot(i, fresh);
      slots.setPacket(slot, inChunk, length, message.mark);
      schedule.push(dueMs, slot);
    }
    return true;
  }

  /** Holds the packet as fragments of the device's size, all or none of them. */
  function holdFragments(slot: number, mtu: number, dueMs: number): boolean {
    const packet = slots.memoryOf(slot).subarray(message.packetStart, message.packetStart + message.packetLength);
    const fragments = fragmentIpv4(packet, mtu);
    const taken: number[] = [];
    for (const fragment of fragments) {
      const own = slots.take(fragment.length);
      if (own < 0) {
        for (const other of taken) slots.give(other);
        return false;
      }
      taken.push(own);
      const start = slots.startOf(own);
      fragment.copy(slots.memoryOf(own), start);
      slots.setPacket(own, start, fragment.length, message.mark);
    }
    for (const own of taken) schedule.push(dueMs, own);
    counters.fragmented++;
    return true;
  }

  /** Decides about the packet of message `i`, which lies in `slot`. */
  function decide(i: number, slot: number, nowMs: number, wallMs: number): Outcome {
    const view = slots.viewOf(slot);
    const start = message.packetStart;
    if (message.truncatedFrom > 0 || !isIpv4(view, start, message.packetLength)) {
      counters.notUnderstood++;
      return "passed";
    }
    const destination = destinations.find(destinationOf(view, start));
    const effect = destination.effect;
    if (effect === undefined && destination.lastDueMs <= nowMs) {
      counters.passed++;
      return "passed";
    }
    if (effect !== undefined) {
      for (const matched of effect.matching) {
        matched.matched++;
        if (matched.firstMs === 0) matched.firstMs = wallMs;
        matched.lastMs = wallMs;
      }
      const lostBy = drawLoss(effect, random);
      if (lostBy !== undefined) {
        lostBy.dropped++;
        return "taken";
      }
    }
    let dueMs = nowMs + (effect === undefined ? 0 : drawDelayMs(effect, random));
    if (effect === undefined || effect.jittersMs.length === 0) {
      dueMs = Math.max(dueMs, destination.lastDueMs);
      destination.lastDueMs = dueMs;
    }
    if (dueMs <= nowMs) {
      counters.passed++;
      return "passed";
    }
    const mtu = mtuOf(message.outDevice, nowMs);
    const isTooLarge = mtu > 0 && message.packetLength > mtu;
    if (isTooLarge && !mayFragment(view, start)) {
      counters.tooLarge++;
      return "passed";
    }
    if (!(isTooLarge ? holdFragments(slot, mtu, dueMs) : hold(i, slot, dueMs))) {
      counters.overflow++;
      return "passed";
    }
    if (effect !== undefined) for (const delaying of effect.delaying) delaying.delayed++;
    return isTooLarge ? "taken" : "held";
  }

  function takeFrom(i: number, slot: number, nowMs: number, wallMs: number): Outcome {
    readMessage(slots.viewOf(slot), slots.startOf(slot), receiver.length(i), message);
    if (message.kind !== "packet") return "passed";
    counters.received++;
    const outcome = decide(i, slot, nowMs, wallMs);
    verdictWriter.add(message.id, outcome === "passed" ? verdicts.accept : verdicts.drop);
    return outcome;
  }

  /** A message that goes beyond its slot is put together in a larger one, which a held packet keeps. */
  function takeSpilled(i: number, nowMs: number, wallMs: number): void {
    const slot = slots.take(receiver.length(i));
    if (slot < 0) {
      // what is in the receiver's own slot is enough to answer
      readMessage(slots.viewOf(receiver.slot(i)), slots.startOf(receiver.slot(i)), RECEIVE_SLOT_BYTES, message);
      counters.received++;
      counters.overflow++;
      verdictWriter.add(message.id, verdicts.accept);
      return;
    }
    receiver.copy(i, slots.memoryOf(slot), slots.startOf(slot));
    if (takeFrom(i, slot, nowMs, wallMs) !== "held") slots.give(slot);
  }

  return {
    takeBatch(nowMs, wallMs) {
      const count = receiver.receive();
      for (let i = 0; i < count; i++) {
        if (receiver.isSpilled(i)) takeSpilled(i, nowMs, wallMs);
        else takeFrom(i, receiver.slot(i), nowMs, wallMs);
      }
      verdictWriter.flush();
      return count;
    },
  };
}

/** The original passes; it is dropped, being lost or copied elsewhere; it is dropped, and its slot now belongs to the copy. */
type Outcome = "passed" | "taken" | "held";
