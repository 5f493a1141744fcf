import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { hasCode, identify } from "./process-table.ts";

const POLL_MS = 500;

/** Runs `work` while no other process of this machine holds the same file. A lock whose owner is dead is taken over. */
export async function withLock<T>(file: string, work: () => Promise<T>, onWait: (owner: number) => void = () => undefined): Promise<T> {
  await mkdir(dirname(file), { recursive: true });
  const mine = await identify(process.pid);
  let hasTold = false;
  for (;;) {
    try {
      await writeFile(file, mine, { flag: "wx" });
      break;
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
    }
    const owner = await readOwner(file);
    if (owner === undefined) {
      await rm(file, { force: true });
      continue;
    }
    if (!hasTold) onWait(owner);
    hasTold = true;
    await sleep(POLL_MS);
  }
  try {
    return await work();
  } finally {
    await rm(file, { force: true });
  }
}

async function readOwner(file: string): Promise<number | undefined> {
  // An empty file is one whose owner has created it and not yet signed it: give it a moment before calling it dead.
  for (let attempt = 0; attempt < 4; attempt++) {
    const text = await readFile(file, "utf8").catch((error: unknown) => {
      if (hasCode(error, "ENOENT")) return "";
      throw error;
    });
    const pid = Number(text.split(" ")[0]);
    if (text !== "") return text === (await identify(pid)) ? pid : undefined;
    await sleep(50);
  }
  return undefined;
}
