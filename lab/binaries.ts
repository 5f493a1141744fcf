import { access, chmod, constants, mkdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { buildPrograms } from "./build-programs.ts";
import { downloadProgram } from "./download.ts";
import { withLock } from "./lock.ts";
import { type ProgramName, programs } from "./programs.ts";
import type { Progress } from "./progress.ts";
import { run } from "./run.ts";
import { withWorkshop } from "./workshop.ts";

export interface BinarySources {
  /** The lab's cache folder, see places.ts. */
  readonly cache: string;
  /** $KUBEBUILDER_ASSETS: where other tools of this machine keep etcd and kube-apiserver. */
  readonly kubebuilderAssets?: string | undefined;
}

/** Where a program is once it is there: one folder for each version, so that two checkouts can share the cache. */
export function cachedPath(cache: string, name: ProgramName): string {
  return join(cache, `bin-v${programs[name].version}`, name);
}

/**
 * Paths of these programs. Each is taken from the cache, else from $KUBEBUILDER_ASSETS when the version fits, else downloaded, else
 * built from its Go module, which takes minutes once. Whatever was made is in the cache afterwards. Throws an Error that says what to
 * install when there is no way.
 */
export async function ensureBinaries<N extends ProgramName>(
  names: readonly N[],
  sources: BinarySources,
  progress: Progress,
): Promise<Readonly<Record<N, string>>> {
  const found = await findBinaries(names, sources);
  const missing = names.filter((name) => found.get(name) === undefined);
  if (missing.length > 0) {
    const lock = join(sources.cache, "bin.lock");
    await withLock(
      lock,
      () => makeBinaries(missing, sources.cache, progress),
      (owner) => progress.say(`Process ${owner} is making the lab's programs; waiting for it.`),
    );
  }
  const paths = names.map((name) => [name, found.get(name) ?? cachedPath(sources.cache, name)] as const);
  return Object.fromEntries(paths) as Record<N, string>;
}

/** Those that need no making. */
export async function findBinaries<N extends ProgramName>(names: readonly N[], sources: BinarySources): Promise<ReadonlyMap<N, string>> {
  const paths = await Promise.all(names.map(async (name) => [name, await findBinary(name, sources)] as const));
  return new Map(paths.flatMap(([name, path]) => (path === undefined ? [] : [[name, path]])));
}

async function findBinary(name: ProgramName, { cache, kubebuilderAssets }: BinarySources): Promise<string | undefined> {
  const cached = cachedPath(cache, name);
  if (await isExecutable(cached)) return cached;
  const program = programs[name];
  if (kubebuilderAssets === undefined || kubebuilderAssets === "" || !("foundWhenVersionHas" in program)) return undefined;
  const path = join(kubebuilderAssets, name);
  if (!(await isExecutable(path))) return undefined;
  const version = await run([path, name === "kubectl" ? "version" : "--version", ...(name === "kubectl" ? ["--client"] : [])], {
    timeoutMs: 10_000,
  }).catch(() => "");
  return version.includes(program.foundWhenVersionHas) ? path : undefined;
}

async function makeBinaries(names: readonly ProgramName[], cache: string, progress: Progress): Promise<void> {
  // Somebody else may have made them while we waited for the lock.
  const there = await findBinaries(names, { cache });
  const missing = names.filter((name) => !there.has(name));
  if (missing.length === 0) return;
  await withWorkshop(cache, "making", async (workshop) => {
    const left: ProgramName[] = [];
    await progress.during(`Fetching ${missing.join(", ")}`, async (note) => {
      for (const name of missing) {
        note(name);
        // One that could not be had says that the others cannot either.
        const isHopeless = left.some((other) => "download" in programs[other]);
        if (!isHopeless && (await downloadProgram(programs[name], join(workshop, name)))) {
          await install(join(workshop, name), cachedPath(cache, name));
        } else left.push(name);
      }
    });
    await buildPrograms(left, workshop, progress, (name) => install(join(workshop, name), cachedPath(cache, name)));
  });
}

/** A rename within one file system: nobody ever sees half a program. */
async function install(from: string, to: string): Promise<void> {
  await chmod(from, 0o755);
  await mkdir(join(to, ".."), { recursive: true });
  await rename(from, to);
}

async function isExecutable(path: string): Promise<boolean> {
  return await access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
