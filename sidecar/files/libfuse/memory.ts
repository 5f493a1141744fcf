import koffi from "koffi";

/** Memory of this process that libfuse owns. An address that is not valid ends the process. */
export interface Memory {
  copy(to: bigint, from: bigint, bytes: number): void;
  /** Bytes before the NUL, at most `most`. */
  lengthOf(text: bigint, most: number): number;
  /** Calls libfuse's `fuse_fill_dir_t`: false where there is no room. */
  addToFolder(filler: bigint, folder: bigint, name: bigint, stat: bigint): boolean;
}

export function openMemory(): Memory {
  const library = koffi.load(null);
  const copy = library.func("void* memcpy(void*, const void*, size_t)");
  const lengthOf = library.func("size_t strnlen(const void*, size_t)");
  const filler = koffi.proto("int fuse_fill_dir(void*, const void*, const void*, int64_t)");
  return {
    copy: (to, from, bytes) => void copy(to, from, bytes),
    lengthOf: (text, most) => Number(lengthOf(text, most)),
    addToFolder: (address, folder, name, stat) => koffi.call(address, filler, folder, name, stat, 0) === 0,
  };
}
