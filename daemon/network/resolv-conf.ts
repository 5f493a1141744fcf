import { constants } from "node:fs";
import { lstat, open } from "node:fs/promises";

const MOST_BYTES = 64 * 1024;

/**
 * What a container has in /etc/resolv.conf; empty where that cannot be told. The container may have put anything there: links are not followed,
 * for they would lead into our own files, and only a regular file is read.
 */
export async function readResolvConf(pid: number): Promise<string> {
  const folder = `/proc/${pid}/root/etc`;
  try {
    if (!(await lstat(folder)).isDirectory()) return "";
    const file = await open(`${folder}/resolv.conf`, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      if (!(await file.stat()).isFile()) return "";
      const { buffer, bytesRead } = await file.read(Buffer.alloc(MOST_BYTES), 0, MOST_BYTES, 0);
      return buffer.toString("utf8", 0, bytesRead);
    } finally {
      await file.close();
    }
  } catch {
    return ""; // there is none, or the container has ended
  }
}
