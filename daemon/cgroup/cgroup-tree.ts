import { access, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Cgroup, type Membership, parseMemberships, UNIFIED } from "./cgroup.ts";
import { hasMember } from "./members.ts";

/** A process whose groups are not to be found. */
export class CgroupError extends Error {
  override readonly name = "CgroupError";
}

export interface CgroupTree {
  /** Throws CgroupError when the process has ended, or is not where the kernel says it is. */
  find(pid: number): Promise<Cgroup>;
}

/**
 * The node's cgroup file system, mounted at `root`: version 1 (a folder for each hierarchy), version 2, or both. The process that asks must be in
 * the node's pid namespace; its cgroup namespace may be its own.
 */
export function openCgroupTree(root: string): CgroupTree {
  /** Where this process' cgroup namespace begins, for each hierarchy. Found once: a process does not change its namespace. */
  const beginnings = new Map<string, Promise<string>>();

  function beginningOf(mount: string, { controllers }: Membership): Promise<string> {
    const known = beginnings.get(mount) ?? findBeginning(mount, controllers);
    beginnings.set(mount, known);
    known.catch(() => beginnings.delete(mount)); // so that the next one tries again
    return known;
  }

  async function folderOf(pid: number, membership: Membership): Promise<readonly [string, string][]> {
    const mount = await findMount(root, membership.controllers);
    if (mount === undefined) return []; // not mounted here: nothing of the node uses it
    const shown = membership.path;
    const folder = join(mount, join("/", await beginningOf(mount, membership), shown));
    if (!(await hasMember(folder, pid)))
      throw new CgroupError(
        `Process ${pid} is not in ${folder}, where its /proc/${pid}/cgroup leads (${shown}). Is ${root} the node's cgroup file system?`,
      );
    const keys = membership.controllers.length === 0 ? [UNIFIED] : membership.controllers;
    return keys.map((key): [string, string] => [key, folder]);
  }

  async function find(pid: number): Promise<Cgroup> {
    const memberships = parseMemberships(await readMemberships(pid));
    const folders = new Map((await Promise.all(memberships.map((membership) => folderOf(pid, membership)))).flat());
    if (folders.size === 0)
      throw new CgroupError(`${root} has none of the groups of process ${pid}. Mount the node's /sys/fs/cgroup there.`);
    return folders;
  }

  return {
    // It may be moved between two looks, for instance by the container runtime while the container starts.
    find: (pid) => find(pid).catch(() => find(pid)),
  };
}

async function readMemberships(pid: number | "self"): Promise<string> {
  try {
    return await readFile(`/proc/${pid}/cgroup`, "utf8");
  } catch (error) {
    throw new CgroupError(`Process ${pid} has ended.`, { cause: error });
  }
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false, // not there, or not for us: either way not a place to look
  );

/** Distributions name folders after one controller or all of them, with links from the others. */
async function findMount(root: string, controllers: readonly string[]): Promise<string | undefined> {
  const names =
    controllers.length === 0 ? [".", "unified"] : [controllers.join(","), ...controllers, controllers.toReversed().join(",")].map(plain);
  const marker = controllers.length === 0 ? "cgroup.controllers" : "cgroup.procs";
  for (const name of names) if (await exists(join(root, name, marker))) return join(root, name);
  return undefined;
}

/** The hierarchy `name=systemd` is mounted as systemd. */
const plain = (name: string): string => name.replace(/^name=/, "");

/** The folder, from the mount on, that this process' /proc/PID/cgroup counts from. */
async function findBeginning(mount: string, controllers: readonly string[]): Promise<string> {
  const memberships = parseMemberships(await readMemberships("self"));
  const own = memberships.find((one) => one.controllers.join() === controllers.join())?.path ?? "/";
  if (await hasMember(join(mount, own), process.pid)) return "/";
  // A cgroup namespace of its own, as containers have: paths are relative to a group that only the whole tree tells.
  const group = await search(mount, "/");
  if (group === undefined)
    throw new CgroupError(
      `This process (${process.pid}) is nowhere in ${mount}. Is that the node's cgroup file system, and is hostPID set?`,
    );
  return own === "/" ? group : group.slice(0, -own.length);
}

async function search(mount: string, group: string): Promise<string | undefined> {
  if (await hasMember(join(mount, group), process.pid)) return group;
  // One that ends meanwhile has no folder any more.
  const entries = await readdir(join(mount, group), { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    if (!entry.isDirectory()) continue;
    const found = await search(mount, join(group, entry.name));
    if (found !== undefined) return found;
  }
  return undefined;
}
