import { parentPort, receiveMessageOnPort, type MessagePort, workerData } from "node:worker_threads";
import { type CompiledFault, FaultLayer } from "../fault-layer.ts";
import { addressOf, errors, openLibc } from "../libc.ts";
import { openPassthrough } from "../passthrough.ts";
import type { NodeId } from "../file-operations.ts";
import { Bell } from "./bell.ts";
import type { FromThread, ThreadSettings, ToThread } from "./thread-messages.ts";
import { askForNothing } from "./protocol.ts";
import { RequestsInFlight } from "./requests-in-flight.ts";
import { Session } from "./session.ts";

const EFD_CLOEXEC = 0o2000000;
const POLLIN = 1;

/**
 * Entry point of the thread that answers the kernel. It sleeps in poll(2) until there is a request, a message of the main thread, or a held request is
 * due; while a file is open and no request is held, in read(2), see bell.ts.
 */
function main(port: MessagePort, settings: ThreadSettings): void {
  const libc = openLibc();
  const { fuse, folder, maxDescriptors, epoch, isShared } = settings;
  const requests = new RequestsInFlight(libc, settings.requests);
  // An earlier server may have ended before anybody heard what it and the kernel agreed on.
  const init = settings.init ?? requests.agreed;
  const bell = new Bell(settings.bell);
  let pinned: NodeId = 0;
  /** Undefined: not tried yet. */
  let isRousable: boolean | undefined;
  const wake = libc.eventfd(0, EFD_CLOEXEC);
  const woken = Buffer.alloc(8);
  const tell = (message: FromThread): void => port.postMessage(message);
  const nowMs = (): number => performance.now();
  const faults = new FaultLayer({ nowMs, random: Math.random });
  const descriptors = Buffer.alloc(16);
  descriptors.writeInt32LE(fuse, 0);
  descriptors.writeInt16LE(POLLIN, 4);
  descriptors.writeInt32LE(wake, 8);
  descriptors.writeInt16LE(POLLIN, 12);
  const polled = addressOf(descriptors);
  const session = new Session({
    libc,
    fuse,
    requests,
    files: openPassthrough({ libc, folder, maxDescriptors }),
    faults,
    epoch,
    init,
    isShared,
    onInit: (agreed) => tell({ is: "serving", init: agreed }),
    isAnyWaiting: () => libc.poll(polled, 1, 0) > 0,
    onSync: (sync) => tell({ is: "sync", ...sync }),
    onNotify: (messages, how) => tell({ is: "notify", messages: join(messages), ...how }),
    onPin: (node) => {
      isRousable ??= canRouse(node);
      pinned = isRousable ? node : 0;
      bell.hang(pinned);
    },
    onBug: (error) => tell({ is: "bug", error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
    nowMs,
    random: Math.random,
  });

  /** Not every kernel may do it: a request that does nothing is to follow. */
  function canRouse(node: NodeId): boolean {
    const message = askForNothing(node);
    return libc.write(fuse, addressOf(message), message.length) === message.length;
  }

  function readMail(
    onRules = (version: number, changed: readonly CompiledFault[]): void => announce(version, changed, { isNew: true }),
  ): void {
    for (let mail = receiveMessageOnPort(port); mail !== undefined; mail = receiveMessageOnPort(port)) {
      const message: ToThread = mail.message;
      switch (message.do) {
        case "count":
          tell({ is: "counted", faults: faults.counts() });
          break;
        case "note-sent":
          session.onSent();
          break;
        case "rule":
          onRules(message.version, faults.rule(message.faults));
      }
    }
  }

  function announce(version: number, changed: readonly CompiledFault[], how: { readonly isNew: boolean }): void {
    session.onRulesChanged(changed, { ...how, onSeen: () => tell({ is: "ruled", version }) });
  }

  if (init !== undefined) tell({ is: "serving", init });
  tell({ is: "listening", wake });
  // Of a thread that follows another one: rules are in force before the first request, and what is held back is known before anything is dropped.
  const ruled: (readonly [version: number, changed: readonly CompiledFault[]])[] = [];
  readMail((...rules) => void ruled.push(rules));
  session.resume();
  for (const rules of ruled) announce(...rules, { isNew: false });
  for (;;) {
    if (bell.hasRung()) readMail();
    if (pinned === 0 || session.nextMs !== Infinity) {
      const timeoutMs = session.nextMs === Infinity ? -1 : Math.max(0, Math.ceil(session.nextMs - nowMs()));
      libc.poll(polled, 2, timeoutMs);
      if (timeoutMs !== -1) session.releaseDue();
      if (descriptors.readInt16LE(14) !== 0) {
        libc.read(wake, addressOf(woken), woken.length);
        readMail();
      }
      if (descriptors.readInt16LE(6) === 0) continue;
    }
    const length = libc.read(fuse, requests.address, requests.request.length);
    if (length >= 0) session.serve(length);
    else if (libc.errno() === errors.ENODEV) return tell({ is: "unmounted" });
    else if (!passing.has(libc.errno())) throw new Error(`Requests of the kernel cannot be read: errno ${libc.errno()}.`);
  }
}

/** Not by Buffer.concat, which takes 64 KiB for all that is small, and a message to another thread copies them. */
function join(messages: readonly Buffer[]): Buffer {
  const all = Buffer.alloc(messages.reduce((bytes, { length }) => bytes + length, 0));
  let at = 0;
  for (const message of messages) at += message.copy(all, at);
  return all;
}

/** ENOENT: who asked is gone. */
const passing: ReadonlySet<number> = new Set([errors.EINTR, errors.ENOENT, errors.EAGAIN]);

if (parentPort === null) throw new Error("Files are served in a worker thread; see serve-files.ts.");
main(parentPort, workerData);
