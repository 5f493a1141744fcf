import { parentPort, receiveMessageOnPort, type MessagePort, workerData } from "node:worker_threads";
import { openLibc } from "./libc.ts";
import { runLoop } from "./loop.ts";
import type { Answer, EngineSettings, Request } from "./messages.ts";

/** Entry point of the engine's thread: it blocks in the kernel, so it takes its messages one by one when it is woken. */
function main(port: MessagePort, settings: EngineSettings): void {
  const post = (answer: Answer): void => port.postMessage(answer);
  const nextRequest = (): Request | undefined => receiveMessageOnPort(port)?.message;
  runLoop({ libc: openLibc(), settings, post, nextRequest });
}

if (parentPort === null) throw new Error("The engine runs in a worker thread; see engine.ts.");
main(parentPort, workerData);
