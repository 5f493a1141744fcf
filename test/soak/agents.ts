import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { AgentsOrder } from "./agents-process.ts";

export const addressOf = (index: number): string => `127.1.${index >> 8}.${index & 255}`;

/** A process with many agents; it takes one order at a time. */
export function forkAgents(): { readonly ask: (order: AgentsOrder) => Promise<unknown>; readonly end: () => void } {
  const child = fork(fileURLToPath(new URL("agents-process.ts", import.meta.url)));
  return {
    async ask(order) {
      child.send(order);
      const [reply] = (await once(child, "message")) as [{ readonly answer?: unknown; readonly error?: string }];
      if (reply.error !== undefined) throw new Error(reply.error);
      return reply.answer;
    },
    end: () => child.disconnect(),
  };
}
