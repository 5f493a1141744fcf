import { randomInt } from "node:crypto";
import { fdatasync, fsync, writeSync } from "node:fs";
import { Worker } from "node:worker_threads";
import type { Log } from "../../common/log.ts";
import { readDescriptorLimit } from "./descriptor-limit.ts";
import { Bell } from "./kernel/bell.ts";
import { askForNothing } from "./kernel/protocol.ts";
import { endSync } from "./kernel/requests-in-flight.ts";
import { servingThreadUrl } from "./kernel/serving-thread-url.ts";
import type { SlowSync } from "./kernel/session.ts";
import type { FromThread, ThreadSettings, ToThread } from "./kernel/thread-messages.ts";
import { type FromServer, serverDescriptors, type ToServer } from "./server-messages.ts";

const { fuse, folder, requests } = serverDescriptors;
/** What is added to an eventfd(2). */
const ONE = new BigUint64Array([1n]);

/**
 * The server process of one volume: `sidecar.mjs serve-files`, started by the sidecar with the descriptors and the channel of server-messages.ts. One
 * thread answers the kernel; this one does what may take long. Ends with the channel or with the mount.
 */
export function serveFiles({
  openLog,
  exit,
}: {
  /** A third of the time to start, and 2 MB: for those that have something to say. */
  readonly openLog: () => Promise<Log>;
  readonly exit: (code: number) => void;
}): void {
  process.umask(0); // modes are the caller's
  let thread: Worker | undefined;
  let wakeFd: number | undefined;
  const bell = new Bell();
  const say = (message: FromServer): void => void process.send?.(message);

  async function complain(fields: object, message: string): Promise<void> {
    (await openLog()).error(fields, message);
  }

  async function endWith(error: unknown): Promise<void> {
    try {
      await complain({ err: error }, "the serving thread ended");
    } finally {
      exit(1);
    }
  }

  function post(message: ToThread): void {
    if (thread === undefined) throw new Error("The first message must be `serve`.");
    thread.postMessage(message);
    wake();
  }

  /** What is posted before the thread listens waits until it does. */
  function wake(): void {
    if (wakeFd === undefined) return;
    const node = bell.ring();
    writeSync(wakeFd, ONE);
    // Where the kernel does not have it any more, the thread has been told so, and is awake.
    try {
      if (node !== 0) writeSync(fuse, askForNothing(node)); // waits for nothing, and for no thread that a slow disk may keep
    } catch {
      // see above
    }
  }

  function hear(message: FromThread): void {
    switch (message.is) {
      case "listening":
        wakeFd = message.wake;
        wake();
        break;
      case "serving":
      case "notify":
      case "ruled":
      case "counted":
        say(message);
        break;
      case "sync":
        answerSync(message);
        break;
      case "bug":
        void complain({ error: message.error }, "a file operation failed inside the server; it was answered with EIO");
        break;
      case "unmounted":
        say({ is: "unmounted" });
        exit(0);
    }
  }

  process.on("message", (message: ToServer) => {
    switch (message.do) {
      case "serve":
        thread = startThread(
          {
            fuse,
            folder,
            requests,
            maxDescriptors: readDescriptorLimit(),
            epoch: randomInt(1, 2 ** 31),
            init: message.init,
            isShared: message.isShared,
            bell: bell.memory,
          },
          hear,
        );
        thread.on("error", (error) => {
          void endWith(error);
        });
        break;
      case "rule":
        post({ do: "rule", version: message.version, faults: message.faults });
        break;
      case "count":
      case "note-sent":
        post(message);
        break;
    }
  });
  process.on("disconnect", () => exit(0));
}

function startThread(settings: ThreadSettings, hear: (message: FromThread) => void): Worker {
  const thread = new Worker(servingThreadUrl(import.meta.url), {
    workerData: settings,
    resourceLimits: { maxYoungGenerationSizeMb: 2 },
  });
  thread.on("message", hear);
  return thread;
}

function answerSync({ fd, dataOnly, answer, slot }: SlowSync): void {
  const bytes = Buffer.from(answer);
  (dataOnly ? fdatasync : fsync)(fd, (error) => {
    if (error !== null) bytes.writeInt32LE(error.errno ?? -5, 4);
    try {
      writeSync(fuse, bytes);
    } catch {
      // Nobody waits any more, or the mount is gone: the serving thread hears of that.
    }
    endSync(requests, slot);
  });
}
