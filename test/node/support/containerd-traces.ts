import { readdir, readFile, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { hasCode, isAlive, kill } from "../../../lab/process-table.ts";
import { waitUntil } from "../../../lab/wait-until.ts";

const CGROUPS = "/sys/fs/cgroup";
const PATIENCE = { timeoutMs: 15_000 } as const;

interface Traces {
  readonly socket: string;
  readonly cgroup: string;
}

/** Ends the shims of the containerd at this socket and all processes in these cgroups, and removes the cgroups. */
export async function removeTraces({ socket, cgroup }: Traces): Promise<void> {
  const areGone = async (): Promise<boolean> => {
    const pids = [...(await listShims(socket)), ...(await listProcesses(cgroup))];
    for (const pid of pids) kill(pid);
    return !(await Promise.all(pids.map(isAlive))).includes(true);
  };
  await waitUntil("processes do not end", areGone, PATIENCE);
  for (const folder of await listCgroups(cgroup)) await waitUntil(`${folder} is in use`, () => remove(folder), PATIENCE);
}

/** What a containerd that is gone would leave on the machine. */
export async function listTraces({ socket, cgroup }: Traces): Promise<readonly string[]> {
  const shims = (await listShims(socket)).map((pid) => `shim ${pid}`);
  return [...shims, ...(await listProcesses(cgroup)).map((pid) => `process ${pid}`), ...(await listCgroups(cgroup))];
}

async function listShims(socket: string): Promise<readonly number[]> {
  const pids = (await readdir("/proc")).map(Number).filter((pid) => pid > 1);
  const commands = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")));
  return pids.filter((_pid, index) => {
    const argv = commands[index]?.split("\0") ?? [];
    return argv[0]?.includes("containerd-shim") === true && argv.includes(socket);
  });
}

async function listProcesses(cgroup: string): Promise<readonly number[]> {
  const lists = await Promise.all(
    (await listCgroups(cgroup)).map((folder) => readFile(join(folder, "cgroup.procs"), "utf8").catch(() => "")),
  );
  return [...new Set(lists.flatMap((list) => list.split("\n").filter((line) => line !== "")).map(Number))];
}

/** Of every hierarchy, deepest first. */
async function listCgroups(cgroup: string): Promise<readonly string[]> {
  const entries = await readdir(CGROUPS, { withFileTypes: true });
  const hierarchies = [CGROUPS, ...entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(CGROUPS, name))];
  return (await Promise.all(hierarchies.map((hierarchy) => listFolders(join(hierarchy, cgroup))))).flat();
}

async function listFolders(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  });
  if (entries === undefined) return [];
  const below = await Promise.all(entries.filter((entry) => entry.isDirectory()).map(({ name }) => listFolders(join(folder, name))));
  return [...below.flat(), folder];
}

async function remove(folder: string): Promise<boolean> {
  return await rmdir(folder).then(
    () => true,
    (error: unknown) => hasCode(error, "ENOENT"),
  );
}
