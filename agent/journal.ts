import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import type { Command } from "./plan.ts";

/** The journal could not be written: no change may be made. */
export class JournalError extends Error {
  override readonly name = "JournalError";
}

const entrySchema = z.object({ argv: z.tuple([z.string()], z.string()), stdin: z.string().optional() });

/** How to take back what was done, on disk before it is done. Survives the process, not the pod. */
export interface Journal {
  /** Puts ways back on disk; resolves once they are there. Throws JournalError. */
  add(undo: Command): Promise<void>;
  /** Everything was taken back. */
  clear(): Promise<void>;
  /** What an earlier life left, oldest first. */
  readonly leftovers: readonly Command[];
}

/** Opens the journal at this path and reads what is in it; a last line that was cut off by a crash announces a step that never ran. */
export async function openJournal(path: string): Promise<Journal> {
  const leftovers = await readEntries(path);
  const known = new Set<string>();
  return {
    leftovers,
    async add(undo) {
      const line = `${JSON.stringify(undo)}\n`;
      if (known.has(line)) return;
      try {
        await mkdir(dirname(path), { recursive: true });
        const file = await open(path, "a", 0o600);
        try {
          await file.appendFile(line);
          await file.datasync();
        } finally {
          await file.close();
        }
      } catch (cause) {
        throw new JournalError(`The journal ${path} cannot be written.`, { cause });
      }
      known.add(line);
    },
    async clear() {
      known.clear();
      try {
        // Renamed first: a crash in between leaves either the whole journal or none.
        await rename(path, `${path}.done`);
        await rm(`${path}.done`);
      } catch (error) {
        if (!isMissing(error)) throw new JournalError(`The journal ${path} cannot be cleared.`, { cause: error });
      }
    },
  };
}

async function readEntries(path: string): Promise<readonly Command[]> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (isMissing(error)) return [];
    throw new JournalError(`The journal ${path} cannot be read.`, { cause: error });
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
