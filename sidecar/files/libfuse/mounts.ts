import { readFileSync } from "node:fs";
import koffi from "koffi";
import { parseMountinfo } from "../../../agent/mountinfo.ts";

/** What mounts of this driver are named after. */
export const MOUNT_NAME = "squall-";

const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;

/** Takes our mounts off a folder, those of servers that are dead included: whoever uses them keeps them, or an error. Looks at no file below. */
export function unmountOurs(folder: string): void {
  const umount = koffi.load(null).func("int umount2(const char*, int)");
  // Each may cover another one; a mount that somebody else took away meanwhile is no matter.
  for (let left = countOurs(folder); left > 0; left -= 1) if (umount(folder, MNT_DETACH | UMOUNT_NOFOLLOW) !== 0) return;
}

/** What may be done with files of a folder, as mount.fuse(8) wants it: what its own mount lets be done, and not less by default. */
export function readMountOptions(folder: string): readonly string[] {
  const plain = readMounts(folder).findLast(({ isOurs }) => !isOurs)?.options ?? [];
  return ["suid", "dev", "exec"].map((may) => (plain.includes(`no${may}`) ? `no${may}` : may)).concat(plain.includes("ro") ? "ro" : "rw");
}

const countOurs = (folder: string): number => readMounts(folder).filter(({ isOurs }) => isOurs).length;

/** On this folder, the topmost last. */
function readMounts(folder: string): readonly { readonly options: readonly string[]; readonly isOurs: boolean }[] {
  return parseMountinfo(readFileSync("/proc/self/mountinfo", "utf8"))
    .filter(({ path }) => path === folder)
    .map(({ options, type, source }) => ({ options, isOurs: type === "fuse" && source.startsWith(MOUNT_NAME) }));
}
