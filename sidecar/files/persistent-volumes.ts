import { open, readFile, rename } from "node:fs/promises";
import * as z from "zod/mini";
import type { ServedVolume } from "../../common/sidecar-layout.ts";

/** Names of persistent volumes, by volume of the pod; undefined for one of which the controller knew none. */
export type PersistentVolumes = ReadonlyMap<string, string | undefined>;

/** What servers of volumes cannot begin without. */
export interface Naming {
  /** Volumes whose persistent volumes the controller is to be asked for. */
  readonly volumes: readonly string[];
  /** What it answered, by volume: they begin. */
  tell(names: Readonly<Record<string, string>>): Promise<void>;
}

/** Volumes of the pod whose persistent volumes must be known before they can be served. */
export const namelessOf = (volumes: readonly ServedVolume[]): readonly string[] =>
  volumes.flatMap(({ name, isOneOfSeveral }) => (isOneOfSeveral === true ? [name] : []));

const remembered = z.record(z.string(), z.nullable(z.string()));

/** What an earlier life of this sidecar was told; undefined where it was not told of all of these volumes. */
export async function readPersistentVolumes(volumes: readonly string[], path: string): Promise<PersistentVolumes | undefined> {
  let found: ReadonlyMap<string, string | null>;
  try {
    found = new Map(Object.entries(remembered.parse(JSON.parse(await readFile(path, "utf8")))));
  } catch {
    return undefined; // none, or one that was not written by us: it is asked for once more
  }
  return volumes.every((name) => found.has(name)) ? new Map([...found].map(([name, of]) => [name, of ?? undefined])) : undefined;
}

/** Remembers it for the next life. The file is there as a whole, or the one before. */
export async function writePersistentVolumes(told: PersistentVolumes, path: string): Promise<void> {
  const file = await open(`${path}.new`, "w", 0o600);
  try {
    await file.writeFile(JSON.stringify(Object.fromEntries([...told].map(([name, of]) => [name, of ?? null]))));
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
}
