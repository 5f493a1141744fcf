import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync, type Stats } from "node:fs";
import { join } from "node:path";

/** Everything that must be the same wherever the same was done: what is at each path below a folder, in words. */
export function describeTree(folder: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" }).toSorted()) found.set(name, describe(join(folder, name)));
  return found;
}

function describe(path: string): string {
  const status = lstatSync(path);
  const { mode, uid, gid, nlink, rdev } = status;
  return `${mode.toString(8)} ${uid}:${gid} links ${status.isDirectory() ? "" : nlink} device ${rdev} ${contentOf(path, status)}`;
}

function contentOf(path: string, status: Stats): string {
  if (status.isSymbolicLink()) return `-> ${readlinkSync(path)}`;
  if (!status.isFile()) return "";
  return `${status.size} bytes ${createHash("sha256").update(readFileSync(path)).digest("hex")}`;
}
