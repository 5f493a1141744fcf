import { fragmentIpv4, isIpv4, mayFragment, payloadOfIpv4 } from "./ipv4.ts";
import { fragmentIpv6, isIpv6, payloadOfIpv6 } from "./ipv6.ts";
import { newReceivedMessage, readMessage, verdicts } from "./netlink.ts";
import { RECEIVE_SLOT_BYTES, type Receiver } from "./receiver.ts";
import type { ClassState, CompiledRules } from "./rules.ts";
import type { Schedule } from "./schedule.ts";
import { newCopies, type Random, shapePacket } from "./shaper.ts";
import type { Slots } from "./slots.ts";
import type { VerdictWriter } from "./verdict-writer.ts";

/** What came in and what became of it, beyond the counters of single faults. */
export interface IntakeCounters {
  received: number;
  /** Passed at once because no fault wants anything of them. */
  passed: number;
  /** Should have been held and found no memory left within the bound: passed at once, or lost where a rate is to be kept. */
  overflow: number;
  /** Larger than the device's MTU with the DF bit set: passed, so that the kernel answers the sender as it always does. */
  tooLarge: number;
  /** Cut into fragments by us. */
  fragmented: number;
  /** Passed: neither IPv4 nor IPv6, or cut off by the kernel while copying. */
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
  setRules(rules: Pick<CompiledRules, "classes">): void;
  /** Takes one batch from the queue and answers for it; returns how many messages there were. */
  takeBatch(): number;
  /** The kernel's answer to a configuration message, 0 or an errno, once it came; then forgotten. */
  takeAnswer(): number | undefined;
}

/** A slot this small is worth a copy: the large one stays for receiving. */
const SMALL_BYTES = 256;

export interface IntakeParts {
  readonly receiver: Receiver;
  readonly slots: Slots;
  readonly schedule: Schedule;
  readonly verdictWriter: VerdictWriter;
  readonly counters: IntakeCounters;
  readonly mtuOf: (device: number, nowMs: number) => number;
  readonly random: Random;
  /** Monotonic. */
  readonly nowMs: () => number;
  readonly wallMs: () => number;
}

/** The original passes; it is dropped, being lost or copied elsewhere; it stays in the kernel for now; it is dropped, and its slot now belongs to the copy. */
type Outcome = "passed" | "taken" | "held-there" | "kept-slot";

export function createIntake({
  receiver,
  slots,
  schedule,
  verdictWriter,
  counters,
  mtuOf,
  random,
  nowMs: readNow,
  wallMs: readWall,
}: IntakeParts): Intake {
  const message = newReceivedMessage();
  const copies = newCopies();
  let kernelAnswer: number | undefined;
  let classes: ReadonlyMap<number, ClassState> = new Map();

  /** Holds the packet of message `i`, which lies in `slot`; returns the slot that holds it then, -1 when there is no room. */
  function holdOriginal(i: number, slot: number, dueMs: number): number {
    if (receiver.isSpilled(i) || message.packetLength <= SMALL_BYTES)
      return receiver.isSpilled(i) ? keep(slot, dueMs) : holdCopy(slot, dueMs);
    const fresh = slots.take(RECEIVE_SLOT_BYTES);
    if (fresh < 0) return -1;
    receiver.exchangeSlot(i, fresh);
    return keep(slot, dueMs);
  }

  function keep(slot: number, dueMs: number): number {
    slots.setPacket(slot, message.packetStart, message.packetLength, message.mark, message.outDevice);
    schedule.push(dueMs, slot);
    return slot;
  }

  function holdCopy(slot: number, dueMs: number): number {
    const from = slots.memoryOf(slot);
    return holdBytes(from.subarray(message.packetStart, message.packetStart + message.packetLength), dueMs);
  }

  function holdBytes(bytes: Buffer, dueMs: number): number {
    const own = slots.take(bytes.length);
    if (own < 0) return -1;
    const start = slots.startOf(own);
    bytes.copy(slots.memoryOf(own), start);
    slots.setPacket(own, start, bytes.length, message.mark, message.outDevice);
    schedule.push(dueMs, own);
    return own;
  }

  /** Holds the packet as fragments of the device's size, all or none of them. */
  function holdFragments(slot: number, mtu: number, dueMs: number, flips: number, isV4: boolean): boolean {
    const packet = slots.memoryOf(slot).subarray(message.packetStart, message.packetStart + message.packetLength);
    const fragments = isV4 ? fragmentIpv4(packet, mtu) : fragmentIpv6(packet, mtu, Math.floor(random() * 2 ** 32));
    const held = fragments.map((fragment) => slots.take(fragment.length));
    if (held.includes(-1)) {
      for (const own of held) if (own >= 0) slots.give(own);
      return false;
    }
    for (const [index, fragment] of fragments.entries()) {
      const own = held[index] ?? -1;
      const start = slots.startOf(own);
      fragment.copy(slots.memoryOf(own), start);
      slots.setPacket(own, start, fragment.length, message.mark, message.outDevice);
      schedule.push(dueMs, own);
    }
    for (let flip = 0; flip < flips; flip++) flipBit(held[Math.floor(random() * held.length)] ?? -1, isV4);
    counters.fragmented++;
    return true;
  }

  /** In what the IP headers carry: a flipped address would send the packet to somebody else. */
  function flipBit(slot: number, isV4: boolean): void {
    const start = slots.packetStart(slot);
    const packet = slots.memoryOf(slot).subarray(start, start + slots.packetLength(slot));
    const header = isV4 ? payloadOfIpv4(packet) : payloadOfIpv6(packet);
    if (header >= packet.length) return;
    const at = header + Math.floor(random() * (packet.length - header));
    packet[at] = (packet[at] ?? 0) ^ (1 << Math.floor(random() * 8));
  }

  /** Decides about the packet of message `i`, which lies in `slot`. */
  function decide(i: number, slot: number, nowMs: number, wallMs: number): Outcome {
    const view = slots.viewOf(slot);
    const start = message.packetStart;
    const length = message.packetLength;
    const state = classes.get(message.queue);
    if (state === undefined) {
      counters.passed++;
      return "passed";
    }
    const isV4 = isIpv4(view, start, length);
    if (message.truncatedFrom > 0 || !(isV4 || isIpv6(view, start, length))) {
      counters.notUnderstood++;
      return "passed";
    }
    shapePacket(state, length, { nowMs, wallMs, random }, copies);
    if (copies.count === 0) return "taken";
    if (copies.count === 1 && (copies.dueMs[0] ?? 0) <= nowMs && copies.flips[0] === 0) {
      counters.passed++;
      return "passed";
    }
    const outcome = state.at === "ingress" ? holdThere(slot, isV4) : holdHere(i, slot, nowMs, isV4);
    if (outcome !== "overflow") return outcome;
    counters.overflow++;
    return state.isLimited ? "taken" : "passed";
  }

  /** Takes the packet out: copies of it are sent again when they are due. */
  function holdHere(i: number, slot: number, nowMs: number, isV4: boolean): Outcome | "overflow" {
    const mtu = mtuOf(message.outDevice, nowMs);
    const isTooLarge = mtu > 0 && message.packetLength > mtu;
    if (isTooLarge && isV4 && !mayFragment(slots.viewOf(slot), message.packetStart)) {
      counters.tooLarge++;
      return "passed";
    }
    let isAnyHeld = false;
    // the first one last: it may take the slot itself
    for (let copy = copies.count - 1; copy >= 0; copy--) {
      const dueMs = copies.dueMs[copy] ?? nowMs;
      const flips = copies.flips[copy] ?? 0;
      if (isTooLarge) {
        isAnyHeld = holdFragments(slot, mtu, dueMs, flips, isV4) || isAnyHeld;
        continue;
      }
      const held = copy === 0 ? holdOriginal(i, slot, dueMs) : holdCopy(slot, dueMs);
      if (held < 0) continue;
      for (let flip = 0; flip < flips; flip++) flipBit(held, isV4);
      isAnyHeld = true;
      if (held === slot) return "kept-slot";
    }
    return isAnyHeld ? "taken" : "overflow";
  }

  /** Leaves the packet in the kernel until it is due; its bytes are only kept where some of them change. */
  function holdThere(slot: number, isV4: boolean): Outcome | "overflow" {
    const dueMs = copies.dueMs[0] ?? 0;
    const flips = copies.flips[0] ?? 0;
    const own = flips > 0 ? holdCopy(slot, dueMs) : holdBytes(NOTHING, dueMs);
    if (own < 0) return "overflow";
    slots.setHeldThere(own, message.queue, message.id);
    for (let flip = 0; flip < flips; flip++) flipBit(own, isV4);
    return "held-there";
  }

  function takeFrom(i: number, slot: number, nowMs: number, wallMs: number): Outcome {
    readMessage(slots.viewOf(slot), slots.startOf(slot), receiver.length(i), message);
    if (message.kind === "error") kernelAnswer = message.errno;
    if (message.kind !== "packet") return "passed";
    counters.received++;
    const outcome = decide(i, slot, nowMs, wallMs);
    if (outcome !== "held-there") answer(outcome === "passed" ? verdicts.accept : verdicts.drop);
    return outcome;
  }

  function answer(verdict: (typeof verdicts)[keyof typeof verdicts]): void {
    const isIngress = classes.get(message.queue)?.at === "ingress";
    if (isIngress) verdictWriter.addOne(message.queue, message.id, verdict);
    else verdictWriter.addUpTo(message.queue, message.id, verdict);
  }

  /** A message that goes beyond its slot is put together in a larger one, which a held packet keeps. */
  function takeSpilled(i: number, nowMs: number, wallMs: number): void {
    const slot = slots.take(receiver.length(i));
    if (slot < 0) {
      // what is in the receiver's own slot is enough to answer
      readMessage(slots.viewOf(receiver.slot(i)), slots.startOf(receiver.slot(i)), RECEIVE_SLOT_BYTES, message);
      counters.received++;
      counters.overflow++;
      answer(classes.get(message.queue)?.isLimited === true ? verdicts.drop : verdicts.accept);
      return;
    }
    receiver.copy(i, slots.memoryOf(slot), slots.startOf(slot));
    if (takeFrom(i, slot, nowMs, wallMs) !== "kept-slot") slots.give(slot);
  }

  return {
    setRules(rules) {
      classes = rules.classes;
    },
    takeAnswer() {
      const answered = kernelAnswer;
      kernelAnswer = undefined;
      return answered;
    },
    takeBatch() {
      const count = receiver.receive();
      if (count === 0) return 0;
      // only now: a packet that came before this was read would leave early by as much
      const nowMs = readNow();
      const wallMs = readWall();
      for (let i = 0; i < count; i++) {
        if (receiver.isSpilled(i)) takeSpilled(i, nowMs, wallMs);
        else takeFrom(i, receiver.slot(i), nowMs, wallMs);
      }
      verdictWriter.flush();
      return count;
    },
  };
}

const NOTHING = Buffer.alloc(0);
