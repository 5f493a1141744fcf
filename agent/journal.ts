import { mkdir, open, readFile, rm } from "node:fs/promises";
import { dirname } from "node:path";
import * as z from "zod/mini";
import type { Command } from "./plan.ts";

/** The journal could not be written: no change may be made. */
export class JournalError extends Error {
  override readonly name = "JournalError";

  constructor(path: string, operation: "written" | "read" | "cleared", cause: unknown) {
    super(`The journal ${path} cannot be ${operation}: ${cause instanceof Error ? cause.message : String(cause)}.`, { cause });
  }
}

const entrySchema = z.object({ argv: z.tuple([z.string()], z.string()), stdin: z.optional(z.string()) });

/** How to take back what was done, on disk before it is done. Survives the process, not the pod. */
export interface Journal {
  /** Puts ways back on disk, all in one write; resolves once they are there. Throws JournalError. */
  add(undos: readonly Command[]): Promise<void>;
  /** Everything was taken back. */
  clear(): Promise<void>;
  /** What an earlier life left, oldest first. */
  readonly leftovers: readonly Command[];
}

/** Opens the journal at this path and reads what is in it; a last line that was cut off by a crash announces a step that never ran. */
export async function openJournal(path: string): Promise<Journal> {
  const found = await readEntries(path);
  const known = new Set<string>();
  let isThere = found !== undefined;
  return {
    leftovers: found ?? [],
    async add(undos) {
      // Each on a line of its own, also after one that a full disk cut off.
      const lines = undos.map((undo) => `\n${JSON.stringify(undo)}\n`).filter((line) => !known.has(line));
      if (lines.length === 0) return;
      isThere = true;
      try {
        await mkdir(dirname(path), { recursive: true });
        const file = await open(path, "a", 0o600);
        try {
          await file.appendFile(lines.join(""));
          await file.datasync();
        } finally {
          await file.close();
        }
      } catch (cause) {
        throw new JournalError(path, "written", cause);
      }
      for (const line of lines) known.add(line);
    },
    async clear() {
      known.clear();
      if (!isThere) return; // where nothing can be written, nothing has to be
      try {
        await rm(path, { force: true });
        isThere = false;
      } catch (cause) {
        throw new JournalError(path, "cleared", cause);
      }
    },
  };
}

/** Undefined where there is no journal. */
async function readEntries(path: string): Promise<readonly Command[] | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw new JournalError(path, "read", error);
  }
  return text.split("\n").flatMap((line) => {
    try {
      return [entrySchema.parse(JSON.parse(line))];
    } catch {
      return []; // the line that a crash cut off, and the empty one at the end
    }
  });
}

const isMissing = (error: unknown): boolean => error instanceof Error && "code" in error && error.code === "ENOENT";
