import { readlinkSync } from "node:fs";
import koffi from "koffi";
import { Descriptor } from "./descriptors.ts";

const MFD_CLOEXEC = 1;
let create: ((name: string, flags: number) => number) | undefined;

/** Whether it is memory of this name. Asks the kernel alone, and no file system that may not answer. */
export const isSharedMemory = ({ number }: Descriptor, name: string): boolean =>
  readlinkSync(`/proc/self/fd/${number}`) === `/memfd:${name} (deleted)`;

/** Memory that lives as long as some process has it open, and is read and written like a file. Empty at first. See memfd_create(2). */
export function createSharedMemory(name: string): Descriptor {
  create ??= koffi.load(null).func("int memfd_create(const char*, uint32_t)") as (name: string, flags: number) => number;
  const number = create(name, MFD_CLOEXEC);
  if (number < 0) throw new Error(`memfd_create failed with error ${koffi.errno()}.`);
  return new Descriptor(number);
}
