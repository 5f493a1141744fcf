import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { writeWhole } from "../files.ts";
import { CommandError, run } from "../run.ts";

/** A command for a node, as a file in a folder that both sides see: the kernel of one node is nothing that a process of this machine can enter. */
export const nodeRequest = z.object({ argv: z.array(z.string()).min(1), timeoutMs: z.number().positive() });

/** How it ended: as `run` tells it. */
export const nodeAnswer = z.discriminatedUnion("is", [
  z.object({ is: z.literal("done"), stdout: z.string() }),
  z.object({ is: z.literal("failed"), exitCode: z.number().optional(), output: z.string() }),
]);

export type NodeAnswer = z.output<typeof nodeAnswer>;

export const requestFile = (folder: string, id: string): string => join(folder, `${id}.request`);
export const answerFile = (folder: string, id: string): string => join(folder, `${id}.answer`);

/** No notification comes through a file system of the host: looking is the only way. */
const POLL_MS = 200;
const REQUEST = /^(.+)\.request$/;

/** Answers the requests that appear in that folder, several at once, until the signal aborts. */
export async function serveRequests(folder: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    for (const name of await readdir(folder)) {
      const id = REQUEST.exec(name)?.[1];
      if (id === undefined) continue;
      const text = await readFile(requestFile(folder, id), "utf8");
      await rm(requestFile(folder, id));
      void answer(text).then((found) => writeWhole(answerFile(folder, id), JSON.stringify(found)));
    }
    await sleep(POLL_MS);
  }
}

async function answer(text: string): Promise<NodeAnswer> {
  try {
    const { argv, timeoutMs } = nodeRequest.parse(JSON.parse(text));
    return { is: "done", stdout: await run(argv, { timeoutMs }) };
  } catch (error) {
    if (!(error instanceof CommandError)) return { is: "failed", output: String(error) };
    return { is: "failed", output: error.output, ...(error.exitCode === undefined ? {} : { exitCode: error.exitCode }) };
  }
}
