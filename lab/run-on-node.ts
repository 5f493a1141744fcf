import { randomUUID } from "node:crypto";
import { readFile, rm } from "node:fs/promises";
import { exists, writeWhole } from "./files.ts";
import { lab, type NodeName } from "./node/layout.ts";
import { answerFile, nodeAnswer, requestFile } from "./node/requests.ts";
import { waitUntil } from "./wait-until.ts";
import { CommandError } from "./run.ts";

/** A node of the running cluster, as its first process is asked to do something there. */
export interface RunningNode {
  readonly name: NodeName;
  /** See node/requests.ts. */
  readonly requests: string;
}

const TIMEOUT_MS = 180_000;
/** A node that takes this much longer than it was allowed to will not answer any more. */
const GRACE_MS = 10_000;

/**
 * Runs a program on a node, as its root, and returns its standard output. It sees the files of this machine, but for the node's own folders.
 * Throws CommandError.
 */
export async function runOnNode(
  { name, requests }: RunningNode,
  argv: readonly string[],
  { timeoutMs = TIMEOUT_MS }: { readonly timeoutMs?: number } = {},
): Promise<string> {
  const id = randomUUID();
  const [request, answer] = [requestFile(requests, id), answerFile(requests, id)];
  await writeWhole(request, JSON.stringify({ argv, timeoutMs }));
  try {
    await waitUntil(`Node ${name} does not answer to: ${argv.join(" ")}`, () => exists(answer), { timeoutMs: timeoutMs + GRACE_MS });
    const found = nodeAnswer.parse(JSON.parse(await readFile(answer, "utf8")));
    if (found.is === "done") return found.stdout;
    throw new CommandError(argv, found.exitCode, found.output);
  } finally {
    await Promise.all([request, answer].map((file) => rm(file, { force: true })));
  }
}

/** ctr(1) for the images and containers that a node's kubelet sees. */
export function ctr(parameters: readonly string[]): readonly string[] {
  return ["ctr", "--address", lab.containerdSocket, "--namespace", "k8s.io", ...parameters];
}
