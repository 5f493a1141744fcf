import { closeSync, writeSync } from "node:fs";
import { Worker } from "node:worker_threads";
import type { Answer, EngineSettings, Request } from "./messages.ts";
import { encodeUnbind } from "./netlink.ts";
import { workerUrl } from "./worker-url.ts";

export type Reply = Exclude<Answer, { is: "ready" }>;

/** The engine's thread as the main thread sees it. */
export interface EngineThread {
  /** False when the thread could not get a higher priority. */
  readonly isPrioritised: boolean;
  post(request: Request): void;
  onReply(callback: (reply: Reply) => void): void;
  /** Calls back once, when nothing of the thread is left: its descriptors are closed. */
  onEnd(callback: (reason: Error) => void): void;
  /** Ends a thread that does not obey; its queues are given up first, so that packets bypass it at once. */
  terminate(): void;
}

type Ready = Extract<Answer, { is: "ready" }>;

/** Resolves once the thread has its sockets; rejects with why it could not get them. */
export async function startThread(settings: EngineSettings): Promise<EngineThread> {
  const worker = new Worker(workerUrl(import.meta.url), {
    workerData: settings,
    resourceLimits: { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 64 },
  });
  const { wakeFd, queueFd, allFds, isPrioritised } = await firstAnswer(worker);
  const wake = Buffer.alloc(8);
  wake.writeBigUInt64LE(1n);
  const queues = new Set<number>();
  let hasEnded = false;
  let failure: Error | undefined;
  const listeners: ((reason: Error) => void)[] = [];
  worker.on("error", (error) => {
    failure = error instanceof Error ? error : new Error(String(error));
  });
  worker.on("exit", (code) => {
    hasEnded = true;
    for (const fd of allFds) closeSync(fd);
    for (const listener of listeners) listener(failure ?? new Error(`The network engine's thread ended with ${code}.`));
  });
  return {
    isPrioritised,
    post(request) {
      if (hasEnded) return; // whoever waits for the reply hears of the end
      if (request.order.do === "set-rules") for (const { queue } of request.order.rules.classes) queues.add(queue);
      worker.postMessage(request);
      // a thread that sleeps in the kernel sees no messages
      writeSync(wakeFd, wake);
    },
    onReply: (callback) =>
      void worker.on("message", (answer: Answer) => {
        if (answer.is !== "ready") callback(answer);
      }),
    onEnd: (callback) => void listeners.push(callback),
    terminate() {
      if (hasEnded) return;
      for (const queue of queues) writeSync(queueFd, encodeUnbind(queue));
      void worker.terminate();
    },
  };
}

function firstAnswer(worker: Worker): Promise<Ready> {
  return new Promise((resolve, reject) => {
    worker.once("message", (answer: Answer) => {
      if (answer.is === "ready") resolve(answer);
      else reject(new Error("The engine's thread answered before it was ready."));
    });
    worker.once("error", reject);
    worker.once("exit", (code) => reject(new Error(`The engine's thread ended with ${code} before it was ready.`)));
  });
}
