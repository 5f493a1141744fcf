import { dirname } from "node:path";

/**
 * The groups that one process is in: its folder in each hierarchy of version 1, keyed by controller ("memory", "name=systemd"), and under the
 * key "" its folder in the hierarchy of version 2. See cgroups(7).
 */
export type Cgroup = ReadonlyMap<string, string>;

export const UNIFIED = "";

/** Where a controller is, in either version; undefined where the node has it in neither. */
export function findController(cgroup: Cgroup, name: string): { readonly version: 1 | 2; readonly folder: string } | undefined {
  const own = cgroup.get(name);
  if (own !== undefined) return { version: 1, folder: own };
  const unified = cgroup.get(UNIFIED);
  return unified === undefined ? undefined : { version: 2, folder: unified };
}

/** The groups above: of a container, those of its pod. */
export function parentOf(cgroup: Cgroup): Cgroup {
  return new Map([...cgroup].map(([key, folder]) => [key, dirname(folder)]));
}

export interface Membership {
  /** None for the hierarchy of version 2. */
  readonly controllers: readonly string[];
  /** As this process sees it: from the root of its cgroup namespace, so with /.. where that is no parent. */
  readonly path: string;
}

/** Reads /proc/PID/cgroup: lines `ID:CONTROLLERS:PATH`. Lines of another form are passed over. */
export function parseMemberships(text: string): readonly Membership[] {
  return text.split("\n").flatMap((line) => {
    const [, controllers = "", path = ""] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    // A group that was removed while its processes still end.
    if (path === "" || path.endsWith(" (deleted)")) return [];
    return [{ controllers: controllers === "" ? [] : controllers.split(","), path }];
  });
}
