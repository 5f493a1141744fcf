import { readdir, readFile, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { exists, readIfThere } from "./files.ts";
import { hasNetwork, listNetworkProcesses, removeNetwork } from "./network.ts";
import { lab, type LabNode, nodeLayout, nodes, ownFolders } from "./node/layout.ts";
import { hasCode, identify, isAlive, kill } from "./process-table.ts";
import { waitUntil } from "./wait-until.ts";
import { run } from "./run.ts";

const END_TIMEOUT_MS = 15_000;
const CGROUPS = "/sys/fs/cgroup";

/** Whether a lab, or part of one, is there. */
export async function isAnythingLeft(state: string): Promise<boolean> {
  return (await exists(state)) || (await hasNetwork());
}

/**
 * Removes everything that a lab makes on this machine but packages and cache, whichever part of it is still there. Killing the
 * processes ends their namespaces, and with these go all mounts, pods, firewall rules and networks.
 */
export async function tearDown(state: string): Promise<void> {
  const killed = new Set<number>();
  const areGone = async (): Promise<boolean> => {
    const outers = (await Promise.all(Object.values(nodes).map((node) => readOuter(state, node)))).filter((pid) => pid !== undefined);
    // Again each time: the second node's kernel may have started a process while it was being killed.
    for (const pid of [...(await listNetworkProcesses()), ...outers]) {
      kill(pid);
      killed.add(pid);
    }
    return !(await Promise.all([...killed].map(isAlive))).includes(true);
  };
  await waitUntil("Processes of the lab do not end", areGone, { timeoutMs: END_TIMEOUT_MS });
  await removeNetwork();
  await removeCgroups();
  await unmountBelow(state);
  for (const folder of ownFolders) await removeIfEmpty(folder);
  await rm(state, { recursive: true, force: true });
}

/** The process whose death ends the node, as far as it is known and lives. */
export async function readOuter(state: string, node: LabNode): Promise<number | undefined> {
  const text = await readIfThere(nodeLayout(state, node).outer);
  const pid = Number(text?.split(" ")[0]);
  return text !== undefined && text === (await identify(pid)) && (await isAlive(pid)) ? pid : undefined;
}

/** The folders of every cgroup hierarchy; a process in a pod may take a moment to die. */
async function removeCgroups(): Promise<void> {
  const parents = [
    CGROUPS,
    ...(await readdir(CGROUPS, { withFileTypes: true })).filter((e) => e.isDirectory()).map((e) => join(CGROUPS, e.name)),
  ];
  for (const top of parents.map((parent) => join(parent, lab.cgroup))) {
    if (!(await exists(top))) continue;
    await waitUntil(`The cgroup ${top} is still in use`, () => removeTree(top), { timeoutMs: END_TIMEOUT_MS });
  }
}

/** Removes folders only, deepest first: the files of a cgroup cannot be removed and need not be. */
async function removeTree(folder: string): Promise<boolean> {
  const entries = await readdir(folder, { withFileTypes: true });
  for (const entry of entries) if (entry.isDirectory()) await removeTree(join(folder, entry.name));
  try {
    await rmdir(folder);
    return true;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return true;
    if (hasCode(error, "EBUSY")) return false;
    throw error;
  }
}

/** The node's mounts are its own; this is for those that somebody made by hand, which the removal would walk into. */
async function unmountBelow(state: string): Promise<void> {
  const mounts = (await readFile("/proc/self/mountinfo", "utf8")).split("\n").map((line) => line.split(" ")[4] ?? "");
  for (const mount of mounts.filter((path) => path.startsWith(`${state}/`)).toReversed()) await run(["umount", "--lazy", mount]);
}

async function removeIfEmpty(folder: string): Promise<void> {
  try {
    await rmdir(folder);
  } catch (error) {
    // Not ours alone, or never made.
    if (!hasCode(error, "ENOTEMPTY") && !hasCode(error, "ENOENT")) throw error;
  }
}
