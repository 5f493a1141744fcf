import { performance } from "node:perf_hooks";
import { assertNever } from "../../../common/assert-never.ts";
import { createIntake, newIntakeCounters } from "./intake.ts";
import { addressOf, errors, failure, type Libc } from "./libc.ts";
import type { Answer, Counters, EngineSettings, Request } from "./messages.ts";
import { createReceiver } from "./receiver.ts";
import { type ClassState, compileRules, type EngineRules } from "./rules.ts";
import { createSchedule } from "./schedule.ts";
import { createSender, type Sender, type SenderCounters } from "./sender.ts";
import { createSlots } from "./slots.ts";
import { bindQueue, createMtuReader, openAskSocket, openQueueSocket, openRawSocket, openWakeFd, unbindQueue } from "./sockets.ts";
import { createVerdictWriter } from "./verdict-writer.ts";

const PR_SET_TIMERSLACK = 29;
const HIGHEST_PRIORITY = -20;
const POLLIN = 1;
const POLLOUT = 4;
/** The longest sleep: a safety net for a wake-up that got lost. */
const LONGEST_WAIT_MS = 500;
/** Batches read before due packets get their turn again. */
const BATCHES_IN_A_ROW = 4;
/** How long packets that are let go at the end may wait for a full socket. */
const LAST_SEND_MS = 2000;
/** How long a class outlives the rules that named it. */
const RETIRED_MS = 2000;
/** Memory that an engine with nothing to hold keeps. */
const IDLE_BYTES = 1024 * 1024;

export interface LoopParts {
  readonly libc: Libc;
  readonly settings: EngineSettings;
  readonly post: (answer: Answer) => void;
  readonly nextRequest: () => Request | undefined;
}

/**
 * Carries rules out until it is told to close. Blocks its thread: it sleeps in ppoll until a packet comes, a held packet is
 * due or a request is there.
 */
export function runLoop({ libc, settings, post, nextRequest }: LoopParts): void {
  const opened: number[] = [];
  const open = (fd: number): number => {
    opened.push(fd);
    return fd;
  };
  let parts: Omit<ServeParts, keyof LoopParts>;
  try {
    parts = {
      wakeFd: open(openWakeFd(libc)),
      rawFd4: open(openRawSocket(libc, "ipv4", settings.mark.value)),
      rawFd6: openIpv6(libc, settings, open),
      askFd: open(openAskSocket(libc)),
      queueFd: open(openQueueSocket(libc)),
    };
  } catch (error) {
    for (const fd of opened) libc.close(fd);
    throw error;
  }
  // from here on the main thread closes them: it is there to do so whatever happens to this thread
  post({ is: "ready", wakeFd: parts.wakeFd, queueFd: parts.queueFd, allFds: opened, isPrioritised: prioritise(libc) });
  serve({ libc, settings, post, nextRequest, ...parts });
}

interface ServeParts extends LoopParts {
  readonly wakeFd: number;
  readonly rawFd4: number;
  /** -1 where the kernel has no IPv6. */
  readonly rawFd6: number;
  readonly queueFd: number;
  /** For questions about devices. */
  readonly askFd: number;
}

/** A kernel without IPv6 has no packets of it either. */
function openIpv6(libc: Libc, settings: EngineSettings, open: (fd: number) => number): number {
  try {
    return open(openRawSocket(libc, "ipv6", settings.mark.value));
  } catch (error) {
    if (libc.errno() === errors.EAFNOSUPPORT) return -1;
    throw error;
  }
}

function serve({ libc, settings, post, nextRequest, wakeFd, rawFd4, rawFd6, queueFd, askFd }: ServeParts): void {
  const slots = createSlots({ maxBytes: settings.maxHeldBytes });
  const schedule = createSchedule();
  const receiver = createReceiver(libc, queueFd, slots);
  let rules = compileRules(noRules);
  /** Classes that rules no longer name are served for a while: the kernel's own rules may still send packets to them. */
  const retired = new Map<number, { readonly state: ClassState; readonly untilMs: number }>();
  const bound = new Set<number>();
  const intakeCounters = newIntakeCounters();
  const senderCounters: SenderCounters = { sent: 0, refused: 0, lastErrno: 0 };
  const verdictWriter = createVerdictWriter(libc, queueFd);
  const intake = createIntake({
    receiver,
    slots,
    schedule,
    verdictWriter,
    counters: intakeCounters,
    mtuOf: createMtuReader(libc, askFd),
    random: Math.random,
    nowMs: () => performance.now(),
    wallMs: () => Date.now(),
  });
  const sender = createSender({
    libc,
    fd4: rawFd4,
    fd6: rawFd6,
    mark: settings.mark,
    slots,
    schedule,
    counters: senderCounters,
    verdictWriter,
  });
  const poll = createPoll(libc, { queueFd, wakeFd, rawFds: [rawFd4, rawFd6] });
  let isFull = false;

  const held = (): number => schedule.size() + sender.waiting().v4 + sender.waiting().v6;
  const readCounters = (): Counters => ({
    faults: [...rules.counters].map(([id, counters]) => [id, { ...counters }]),
    totals: { ...intakeCounters, ...senderCounters, held: held(), allocatedBytes: slots.allocatedBytes() },
  });

  /** Packets that come before the kernel's answer are taken as ever. */
  function configure(message: Buffer): number {
    if (libc.send(queueFd, message, message.length, 0) < 0) throw failure(libc, "Sending to nfnetlink_queue");
    for (;;) {
      poll.wait(LONGEST_WAIT_MS, nothingWaits);
      intake.takeBatch();
      const answered = intake.takeAnswer();
      if (answered !== undefined) return answered;
    }
  }

  function setRules(wanted: EngineRules): void {
    const next = compileRules(wanted, rules);
    for (const { queue, at } of next.classes.values()) {
      if (bound.has(queue)) continue;
      bindQueue(configure, queue, at);
      bound.add(queue);
    }
    const untilMs = performance.now() + RETIRED_MS;
    for (const [queue, state] of rules.classes) retired.set(queue, { state, untilMs });
    rules = next;
    tellIntake();
  }

  function tellIntake(): void {
    for (const queue of rules.classes.keys()) retired.delete(queue);
    intake.setRules({ classes: new Map([...[...retired].map(([queue, { state }]) => [queue, state] as const), ...rules.classes]) });
  }

  /** Gives up the queues of classes that are gone for good. One of arriving packets stays: some may still wait in it for their time. */
  function forgetRetired(): void {
    if (retired.size === 0) return;
    const nowMs = performance.now();
    for (const [queue, { state, untilMs }] of retired) {
      if (nowMs < untilMs) continue;
      retired.delete(queue);
      tellIntake();
      if (state.at === "ingress") continue;
      unbindQueue(configure, queue);
      bound.delete(queue);
    }
  }

  /** Sends everything, due or not, in the order of its due times. */
  function releaseAll(): void {
    const giveUpMs = performance.now() + LAST_SEND_MS;
    while (!sender.sendDue(Infinity) && performance.now() < giveUpMs) poll.wait(LONGEST_WAIT_MS, sender.waiting());
  }

  /** First what is held, then what still waits in the queues: the order in which it came. */
  function letGo(): void {
    releaseAll();
    intake.setRules({ classes: new Map([...rules.classes].map(([queue, state]) => [queue, { ...state, rules: [] }])) });
    while (intake.takeBatch() > 0) releaseAll();
    for (const queue of bound) unbindQueue(configure, queue);
  }

  function forgetEverything(): void {
    rules = compileRules(noRules);
    retired.clear();
    bound.clear();
    tellIntake();
  }

  /** True when the loop is to end. */
  function obey({ number, order }: Request): boolean {
    switch (order.do) {
      case "set-rules":
        try {
          setRules(order.rules);
          post({ is: "done", number });
        } catch (error) {
          post({ is: "failed", number, message: error instanceof Error ? error.message : String(error) });
        }
        return false;
      case "read-counters":
        post({ is: "done", number, counters: readCounters() });
        return false;
      case "ping":
        post({ is: "done", number });
        return false;
      case "clear":
        letGo();
        forgetEverything();
        post({ is: "done", number });
        return false;
      case "close":
        letGo();
        post({ is: "done", number, counters: readCounters() });
        return true;
      default:
        return assertNever(order);
    }
  }

  for (;;) {
    const waitMs = Math.min(schedule.nextDueMs() - performance.now(), LONGEST_WAIT_MS);
    poll.wait(isFull ? LONGEST_WAIT_MS : Math.max(waitMs, 0), isFull ? sender.waiting() : nothingWaits);
    if (poll.isReadable()) {
      for (let batches = 0; batches < BATCHES_IN_A_ROW && intake.takeBatch() > 0; batches++);
    }
    isFull = !sender.sendDue(performance.now());
    forgetRetired();
    if (poll.isWoken()) for (let request = nextRequest(); request !== undefined; request = nextRequest()) if (obey(request)) return;
    if (slots.allocatedBytes() > IDLE_BYTES && waitMs >= LONGEST_WAIT_MS && held() === 0) {
      receiver.release();
      slots.clear();
    }
  }
}

/** Gives the thread precise timers and, where allowed, the first turn on its core. Both concern this thread alone. */
function prioritise(libc: Libc): boolean {
  // only a refinement: delays without it are up to 50 µs longer
  libc.prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
  return libc.setpriority(0, 0, HIGHEST_PRIORITY) === 0;
}

const noRules: EngineRules = { rules: [], classes: [] };
const nothingWaits = { v4: 0, v6: 0 } as const;

interface Poll {
  /** Sleeps until something is there, or room in a socket that packets wait for, at most for `waitMs`. */
  wait(waitMs: number, waiting: ReturnType<Sender["waiting"]>): void;
  isReadable(): boolean;
  /** True once after each wake-up by the main thread. */
  isWoken(): boolean;
}

function createPoll(
  libc: Libc,
  { queueFd, wakeFd, rawFds }: { readonly queueFd: number; readonly wakeFd: number; readonly rawFds: readonly [number, number] },
): Poll {
  const descriptors = Buffer.alloc(4 * 8);
  const timeout = Buffer.alloc(16);
  const scratch = Buffer.alloc(8);
  descriptors.writeInt32LE(queueFd, 0);
  descriptors.writeInt16LE(POLLIN, 4);
  descriptors.writeInt32LE(wakeFd, 8);
  descriptors.writeInt16LE(POLLIN, 12);
  descriptors.writeInt16LE(POLLOUT, 20);
  descriptors.writeInt16LE(POLLOUT, 28);
  const descriptorsAddress = addressOf(descriptors);
  const timeoutAddress = addressOf(timeout);
  const view = new DataView(descriptors.buffer, descriptors.byteOffset, descriptors.length);
  const timeoutView = new DataView(timeout.buffer, timeout.byteOffset, timeout.length);
  return {
    wait(waitMs, { v4, v6 }) {
      // poll(2) skips a negative one: a socket that nothing waits for has room all the time
      view.setInt32(16, v4 > 0 ? rawFds[0] : -1, true);
      view.setInt32(24, v6 > 0 ? rawFds[1] : -1, true);
      const seconds = Math.floor(waitMs / 1000);
      timeoutView.setUint32(0, seconds, true);
      timeoutView.setUint32(8, Math.floor((waitMs - seconds * 1000) * 1e6), true);
      view.setUint16(6, 0, true);
      view.setUint16(14, 0, true);
      if (libc.ppoll(descriptorsAddress, 4, timeoutAddress, 0n) < 0 && libc.errno() !== errors.EINTR) throw failure(libc, "ppoll");
    },
    isReadable: () => view.getUint16(6, true) !== 0,
    isWoken() {
      if (view.getUint16(14, true) === 0) return false;
      libc.read(wakeFd, scratch, 8);
      return true;
    },
  };
}
