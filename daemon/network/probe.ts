import { accessSync, constants } from "node:fs";
import { readFile } from "node:fs/promises";
import { findPrograms } from "../../agent/programs.ts";

/** What enters the network namespace of a pod, and goes on with less rights than the daemon has. */
export const enterPrograms = { nsenter: "/usr/bin/nsenter", setpriv: "/usr/bin/setpriv" } as const;

/** By number, see capabilities(7). */
const NEEDED: readonly (readonly [number: number, name: string])[] = [
  [6, "SETGID"],
  [8, "SETPCAP"],
  [12, "NET_ADMIN"],
  [13, "NET_RAW"],
  [19, "SYS_PTRACE"],
  [21, "SYS_ADMIN"],
];

/** Why network faults cannot be carried out in pods of this node, as far as that can be told before there is a pod; undefined where nothing speaks against it. */
export async function findWhatJoiningLacks(): Promise<string | undefined> {
  const missing = Object.values(enterPrograms).find((path) => !isExecutable(path));
  if (missing !== undefined) return `There is no ${missing} in the image.`;
  const programs = findPrograms();
  const lacked = (["ip", "tc", "ipset"] as const).find((name) => !programs.has(name));
  if (lacked !== undefined) return `There is no ${lacked} in the image.`;
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(await readFile("/proc/self/status", "utf8"))?.[1] ?? "0"}`);
  const capability = NEEDED.find(([number]) => ((effective >> BigInt(number)) & 1n) === 0n)?.[1];
  return capability === undefined ? undefined : `The daemon's container lacks the capability ${capability}.`;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false; // not there, or not for us: either way not a program to use
  }
}
