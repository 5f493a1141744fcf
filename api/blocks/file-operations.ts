import * as z from "zod";
import { show, suggest } from "../text.ts";
import { knownWord } from "./texts.ts";

/** What IOChaos calls operations, kinds of files and errors. */

export const fileMethods = [
  "lookup",
  "forget",
  "getattr",
  "setattr",
  "readlink",
  "mknod",
  "mkdir",
  "unlink",
  "rmdir",
  "symlink",
  "rename",
  "link",
  "open",
  "read",
  "write",
  "flush",
  "release",
  "fsync",
  "opendir",
  "readdir",
  "releasedir",
  "fsyncdir",
  "statfs",
  "setxattr",
  "getxattr",
  "listxattr",
  "removexattr",
  "access",
  "create",
  "getlk",
  "setlk",
  "bmap",
] as const;

/** Chaos Mesh does not mind the case. */
export const fileMethod = (): z.ZodString => knownWord(fileMethods, { ignoresCase: true });

export const fileKinds = ["namedPipe", "charDevice", "blockDevice", "directory", "regularFile", "symlink", "socket"] as const;

/** Errors that file operations answer with, as Linux numbers them on all its machines. See errno(3). */
const errors: Readonly<Record<string, number>> = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ETXTBSY: 26,
  EFBIG: 27,
  ENOSPC: 28,
  ESPIPE: 29,
  EROFS: 30,
  EMLINK: 31,
  EPIPE: 32,
  ERANGE: 34,
  EDEADLK: 35,
  ENAMETOOLONG: 36,
  ENOLCK: 37,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  ENODATA: 61,
  EOVERFLOW: 75,
  EOPNOTSUPP: 95,
  ETIMEDOUT: 110,
  ESTALE: 116,
  EREMOTEIO: 121,
  EDQUOT: 122,
};

/** The largest error that the kernel takes from a file system in user space; the numbers from 512 on are its own. */
const LARGEST_ERRNO = 511;

/** "EIO", or "error 99" for a number without a name here. */
export const describeErrno = (errno: number): string => Object.keys(errors).find((name) => errors[name] === errno) ?? `error ${errno}`;

export const errno = (): z.ZodNumber =>
  z
    .number({ error: ({ input }) => (typeof input === "string" ? problemWithErrnoName(input) : undefined) })
    .int()
    .min(0)
    .max(LARGEST_ERRNO);

function problemWithErrnoName(text: string): string {
  const number = errors[text.toUpperCase()];
  return number === undefined
    ? `${show(text)} is a text. Write the number of the error, such as 5 for EIO or 28 for ENOSPC.${suggest(text, Object.keys(errors))}`
    : `${show(text)} is a text. Write the number of the error: ${number}.`;
}
