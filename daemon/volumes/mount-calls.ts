import koffi from "koffi";

/** System calls about mounts that Node does not offer. All throw MountCallError. The numbers are those of x86_64 and aarch64, which agree on them. */
export interface MountCalls {
  /** Opens below a folder, see openat2(2). The result is the caller's to close. */
  open(folder: number, path: string, options: { readonly flags: number; readonly resolve: number }): number;
  /** Enters a mount namespace and runs `act` there, to its end; only this thread is in it meanwhile. */
  inNamespace<R>(namespace: number, own: number, act: () => R): R;
  /** A copy of the mount that a folder is on, from that folder down, without what is mounted below it, and attached nowhere. */
  cloneTree(folder: number): number;
  /** A mount of /dev/fuse that is attached nowhere yet. */
  createFuse(device: number, options: { readonly source: string; readonly attributes: number }): number;
  /** Attaches a mount on top of a folder of the present namespace. */
  attach(mount: number, folder: number): void;
  /** What the mount that a folder is on forbids: bits of `mountAttributes`. */
  attributesOf(folder: number): number;
  /**
   * Keeps what is mounted on a folder from the copies of its mount elsewhere, if the folder is where that begins; otherwise nothing is done. It stays a
   * shared mount, as container runtimes demand for HostToContainer, in a peer group of its own.
   */
  leaveGroup(folder: number): void;
  /** Takes a mount away, whoever still uses it. Copies of it elsewhere stay as they are; `isForced`: who waits for an answer gets ENOTCONN, there too. */
  detach(path: string, options: { readonly isForced: boolean }): void;
}

export const openFlags = { O_PATH: 0o10000000, O_DIRECTORY: 0o200000, O_NOFOLLOW: 0o400000, O_CLOEXEC: 0o2000000 } as const;
export const resolveFlags = { NO_MAGICLINKS: 0x02, NO_SYMLINKS: 0x04, BENEATH: 0x08, IN_ROOT: 0x10 } as const;
/** The same bits in fsmount(2) and statfs(2). */
export const mountAttributes = { readOnly: 1, noSuid: 2, noDev: 4, noExec: 8 } as const;

export class MountCallError extends Error {
  override readonly name = "MountCallError";
  /** Such as ENOENT. */
  readonly code: string;

  constructor(what: string, code: string) {
    super(`${what} failed: ${code}`);
    this.code = code;
  }
}

const numbers = { open_tree: 428, move_mount: 429, fsopen: 430, fsconfig: 431, fsmount: 432, openat2: 437, mount_setattr: 442 } as const;
const CLOEXEC = 0o2000000;
const AT_EMPTY_PATH = 0x1000;
const OPEN_TREE_CLONE = 1;
const FSOPEN_CLOEXEC = 1;
const FSMOUNT_CLOEXEC = 1;
const FSCONFIG = { flag: 0, string: 1, create: 6 } as const;
const MOVE_FROM_DESCRIPTOR = 0x04;
const MOVE_TO_DESCRIPTOR = 0x40;
const MS_PRIVATE = 1n << 18n;
const MS_SLAVE = 1n << 19n;
const MS_SHARED = 1n << 20n;
const CLONE_NEWNS = 0x20000;
const CLONE_FS = 0x200;
const MNT_FORCE = 1;
const MNT_DETACH = 2;
const STATFS = { bytes: 120, flagsAt: 80 } as const;

/** Nothing that this process does would be right among the files of another one. */
function endProcess(): void {
  const error = new Error("There is no way back to the own mount namespace.");
  process.nextTick(() => {
    throw error;
  });
}

/** Binds the functions from the C library that this process already runs on. */
export function openMountCalls(): MountCalls {
  const library = koffi.load(null);
  // One function under several prototypes: it takes six registers and looks at those that the call needs.
  const onPath: (call: number, folder: number, path: string, a: number | bigint, b: Buffer | null, bytes: number) => number = library.func(
    "intptr_t syscall(intptr_t, intptr_t, const char*, intptr_t, void*, size_t)",
  );
  const openat2: (call: number, folder: number, path: string, how: Buffer, bytes: number) => number = library.func(
    "intptr_t syscall(intptr_t, intptr_t, const char*, void*, size_t)",
  );
  const fsopen: (call: number, name: string, flags: number) => number = library.func("intptr_t syscall(intptr_t, const char*, uint32_t)");
  const fsconfig: (call: number, context: number, command: number, key: string | null, value: string | null, more: number) => number =
    library.func("intptr_t syscall(intptr_t, intptr_t, uint32_t, const char*, const char*, int)");
  const fsmount: (call: number, context: number, flags: number, attributes: number) => number = library.func(
    "intptr_t syscall(intptr_t, intptr_t, uint32_t, uint32_t)",
  );
  const moveMount: (call: number, from: number, path: string, to: number, toPath: string, flags: number) => number = library.func(
    "intptr_t syscall(intptr_t, intptr_t, const char*, intptr_t, const char*, uint32_t)",
  );
  const setns: (namespace: number, kind: number) => number = library.func("int setns(int, int)");
  const unshare: (what: number) => number = library.func("int unshare(int)");
  const fchdir: (folder: number) => number = library.func("int fchdir(int)");
  const umount2: (path: string, flags: number) => number = library.func("int umount2(const char*, int)");
  const fstatfs: (folder: number, found: Buffer) => number = library.func("int fstatfs(int, void*)");
  const close: (descriptor: number) => number = library.func("int close(int)");

  function check(what: string, result: number): number {
    if (result >= 0) return result;
    const errno = koffi.errno();
    throw new MountCallError(what, Object.entries(koffi.os.errno).find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`);
  }

  function open(folder: number, path: string, { flags, resolve }: { readonly flags: number; readonly resolve: number }): number {
    const how = Buffer.alloc(24);
    how.writeBigUInt64LE(BigInt(flags | CLOEXEC), 0);
    how.writeBigUInt64LE(BigInt(resolve), 16);
    return check(`Opening ${path}`, openat2(numbers.openat2, folder, path, how, how.length));
  }

  function propagate(mount: number, how: bigint): number {
    const attributes = Buffer.alloc(32);
    attributes.writeBigUInt64LE(how, 16);
    return onPath(numbers.mount_setattr, mount, "", AT_EMPTY_PATH, attributes, attributes.length);
  }

  return {
    open,
    inNamespace(namespace, own, act) {
      const here = open(-100, ".", { flags: openFlags.O_PATH | openFlags.O_DIRECTORY, resolve: 0 });
      try {
        // Threads share root and working folder, and a thread that does may not enter. Those that came since the last time share them again.
        check("Leaving the other threads' working folder", unshare(CLONE_FS));
        check("Entering the node's mount namespace", setns(namespace, CLONE_NEWNS));
        try {
          return act();
        } finally {
          if (setns(own, CLONE_NEWNS) < 0 || fchdir(here) < 0) endProcess();
        }
      } finally {
        close(here);
      }
    },
    cloneTree(folder) {
      const flags = OPEN_TREE_CLONE | CLOEXEC | AT_EMPTY_PATH;
      const tree = check("Copying the mount of a volume", onPath(numbers.open_tree, folder, "", flags, null, 0));
      try {
        // What is mounted on the folder later must not appear in the copy.
        check("Making the copy of a mount private", propagate(tree, MS_PRIVATE));
        return tree;
      } catch (error) {
        close(tree);
        throw error;
      }
    },
    leaveGroup(folder) {
      const result = propagate(folder, MS_SLAVE);
      if (result < 0 && koffi.errno() === koffi.os.errno["EINVAL"]) return; // it is a folder of a mount that begins above it
      check("Taking a mount out of its peer group", result);
      check("Making a mount shared", propagate(folder, MS_SHARED));
    },
    createFuse(device, { source, attributes }) {
      const context = check("Opening the file system fuse", fsopen(numbers.fsopen, "fuse", FSOPEN_CLOEXEC));
      try {
        const settings = { source, fd: String(device), rootmode: "40000", user_id: "0", group_id: "0" };
        for (const [key, value] of Object.entries(settings))
          check(`Setting ${key} of a mount`, fsconfig(numbers.fsconfig, context, FSCONFIG.string, key, value, 0));
        for (const key of ["allow_other", "default_permissions"])
          check(`Setting ${key} of a mount`, fsconfig(numbers.fsconfig, context, FSCONFIG.flag, key, null, 0));
        check("Creating a file system", fsconfig(numbers.fsconfig, context, FSCONFIG.create, null, null, 0));
        return check("Mounting a file system", fsmount(numbers.fsmount, context, FSMOUNT_CLOEXEC, attributes));
      } finally {
        close(context);
      }
    },
    attach(mount, folder) {
      const flags = MOVE_FROM_DESCRIPTOR | MOVE_TO_DESCRIPTOR;
      check("Mounting over the folder of a volume", moveMount(numbers.move_mount, mount, "", folder, "", flags));
    },
    attributesOf(folder) {
      const found = Buffer.alloc(STATFS.bytes);
      check("Looking at the mount of a volume", fstatfs(folder, found));
      const { readOnly, noSuid, noDev, noExec } = mountAttributes;
      return Number(found.readBigUInt64LE(STATFS.flagsAt)) & (readOnly | noSuid | noDev | noExec);
    },
    detach(path, { isForced }) {
      check(`Unmounting ${path}`, umount2(path, (isForced ? MNT_FORCE : 0) | MNT_DETACH));
    },
  };
}
