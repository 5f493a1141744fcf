import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { join } from "node:path";

/**
 * Lends a fresh folder beside the place where its result will go, so that a rename is enough to put it there. What earlier ones of the
 * same name left behind when they were killed is removed first: the caller holds a lock.
 */
export async function withWorkshop<T>(parent: string, name: string, work: (folder: string) => Promise<T>): Promise<T> {
  await mkdir(parent, { recursive: true });
  for (const entry of await readdir(parent)) {
    if (entry.startsWith(`${name}-`)) await rm(join(parent, entry), { recursive: true, force: true });
  }
  const folder = await mkdtemp(join(parent, `${name}-`));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
