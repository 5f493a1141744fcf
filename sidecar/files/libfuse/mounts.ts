import { readFileSync } from "node:fs";
import koffi from "koffi";

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

/** See proc_pid_mountinfo(5): the mount point is the fifth field, the name comes after the type behind a dash. */
function countOurs(folder: string): number {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .filter((line) => {
      const [before = "", after = ""] = line.split(" - ");
      const [type, name] = after.split(" ");
      return unescape(before.split(" ")[4] ?? "") === folder && type === "fuse" && name?.startsWith(MOUNT_NAME) === true;
    }).length;
}

/** Spaces and the like are written in octal. */
const unescape = (text: string): string =>
  text.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
