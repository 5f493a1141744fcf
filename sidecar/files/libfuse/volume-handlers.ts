import { constants, fdatasync, fsync } from "node:fs";
import { cacheRulesFor, type FaultLayer, makeMistakes, overrideAttributes, type Verdict } from "../fault-layer.ts";
import { type Caller, FileError, type FileOperations, type Name, type NewTime } from "../file-operations.ts";
import { fattr, op, operations, REQUEST_HEADER } from "../kernel/protocol.ts";
import { errors, modes } from "../libc.ts";
import { FaultGate } from "./fault-gate.ts";
import type { FuseNative, Handler, Signal, ThreadMemory } from "./fuse-native.ts";
import { KernelRequests } from "./kernel-requests.ts";
import type { Memory } from "./memory.ts";
import { NativeCalls } from "./native-calls.ts";
import { isHidden, PathNodes } from "./path-nodes.ts";

export interface VolumeHandlersOptions {
  readonly native: FuseNative;
  readonly memory: Memory;
  readonly files: FileOperations;
  readonly faults: FaultLayer;
  /** The kernel has said hello. */
  readonly onInit: () => void;
  /** It has, but requests cannot be read as they must be: this libfuse is another one than this driver knows. */
  readonly onUnknown: (error: unknown) => void;
  /** The kernel is to drop what it keeps of the data of this node of its own. */
  readonly onStale: (node: bigint) => void;
  readonly onBug: (error: unknown) => void;
  readonly nowMs: () => number;
  readonly random: () => number;
}

export interface VolumeHandlers {
  /** By libfuse's names of them. */
  readonly handlers: Readonly<Record<string, Handler>>;
  /** To be called when the rules have changed. Returns the kernel's numbers of nodes that it may keep data of. */
  readonly onRulesChanged: () => readonly bigint[];
}

const BODY = REQUEST_HEADER;
const SAME_OWNER = 0xffff_ffff;
/** What fuse-native fills in by itself, where nobody reads it; see NativeCalls. */
const noStat = new Uint32Array(18);
const noSpace = new Uint32Array(11);

type Answer = (result: number) => void;
/** Carries an operation out and answers it, once; values are what fuse-native gives. */
type Handle = (thread: ThreadMemory, answer: Answer, ...values: never[]) => void;
type Act = (verdict: Verdict | undefined) => number | Promise<number>;

/** Answers the calls of libfuse with the operations of a volume and its faults. */
export function createVolumeHandlers(options: VolumeHandlersOptions): VolumeHandlers {
  const { native, memory, files, faults, onBug, nowMs, random } = options;
  const gate = new FaultGate({ faults, nowMs });
  const requests = new KernelRequests(memory, native.threads);
  const calls = new NativeCalls(memory);
  const nodes = new PathNodes(files);
  /** The kernel's numbers of files that were read since they were opened. */
  const readNodes = new Map<number, bigint>();
  /** The request whose times are set: libfuse calls for both times, or not at all. */
  const timed = new WeakMap<ThreadMemory, bigint>();

  const requestNumber = (request: Buffer): bigint => request.readBigUInt64LE(8);
  const callerOf = (request: Buffer): Caller => ({ uid: request.readUInt32LE(24), gid: request.readUInt32LE(28) });

  /** Carries a call out, unless a fault wants it otherwise, and answers it. `method` undefined: no fault can hit it. */
  function serve(
    thread: ThreadMemory,
    { method, paths }: { readonly method: string | undefined; readonly paths: readonly Name[] },
    answer: Answer,
    act: Act,
  ): void {
    const failed = (error: unknown): void => {
      if (!(error instanceof FileError)) onBug(error);
      answer(-(error instanceof FileError ? error.errno : errors.EIO));
    };
    const goOn = (verdict: Verdict | undefined): void => {
      try {
        nodes.trim();
        const result = act(verdict);
        if (typeof result === "number") answer(result);
        else result.then(answer, failed);
      } catch (error) {
        failed(error);
      }
    };
    if (method === undefined || faults.isIdle) return goOn(undefined);
    try {
      const visible = paths.map((path) => nodes.visible(path));
      gate.pass({ thread, request: requestNumber(requests.of(thread)), method, paths: visible }, { goOn, fail: (errno) => answer(-errno) });
    } catch (error) {
      failed(error);
    }
  }

  /** A handler that answers whatever happens: nobody else would, and whoever waits would wait forever. */
  function handler(
    name: string,
    answerBy: (signal: Signal, thread: ThreadMemory, values: readonly unknown[]) => Answer,
    handle: Handle,
  ): Handler {
    const signal = native.signalOf(name);
    return (thread, _code, ...values) => {
      const signalResult = answerBy(signal, thread, values);
      let isAnswered = false;
      const answer = (result: number): void => {
        if (isAnswered) return; // the thread is at its next call by then
        isAnswered = true;
        signalResult(result);
      };
      try {
        handle(thread, answer, ...values);
      } catch (error) {
        onBug(error);
        answer(-errors.EIO);
      }
    };
  }

  /** An operation that gives nothing back but its result. */
  const plain = (name: string, handle: Handle): Handler => handler(name, (signal, thread) => (result) => signal(thread, result), handle);

  /** One that gives back a handle. */
  const opening = (name: string, handle: Handle): Handler =>
    handler(name, (signal, thread) => (result) => signal(thread, Math.min(result, 0), Math.max(result, 0)), handle);

  /** One that fills in a result, or wants to have a buffer back. */
  const giving = (name: string, more: (values: readonly unknown[]) => readonly unknown[], handle: Handle): Handler =>
    handler(
      name,
      (signal, thread, values) => {
        const own = more(values);
        return (result) => signal(thread, result, ...own);
      },
      handle,
    );

  /** fuse-native takes memory of libfuse's back from JavaScript. */
  const bufferAt =
    (index: number) =>
    (values: readonly unknown[]): readonly unknown[] => {
      const buffer = values[index];
      return [Buffer.isBuffer(buffer) ? buffer.buffer : undefined];
    };
  const dataOf = (values: readonly unknown[]): readonly unknown[] => [0, ...bufferAt(2)(values)];

  const pathOf = (thread: ThreadMemory, path: string): Name => calls.text(thread, "path", path);
  const destOf = (thread: ThreadMemory, path: string): Name => calls.text(thread, "dest", path);

  function lookAt(thread: ThreadMemory, path: Name, handle: number | undefined, answer: Answer): void {
    const request = requests.of(thread);
    const code = request.readUInt32LE(4);
    const isAsked = code === op.LOOKUP || code === op.GETATTR || code === op.SETATTR;
    serve(thread, { method: isAsked ? operations.get(code)?.method : undefined, paths: [path] }, answer, (verdict) => {
      if (code === op.SETATTR) setTimes(thread, path);
      const node = handle === undefined ? nodes.nodeAt(path) : nodes.nodeOf(handle);
      const found = files.getattr(node, handle);
      const told = verdict === undefined ? found : overrideAttributes(found, verdict);
      // The root of a volume keeps its type, or the volume would be lost.
      calls.giveAttributes(thread, path === "/" ? { ...told, mode: (told.mode & 0o7777) | (found.mode & modes.S_IFMT) } : told);
      return 0;
    });
  }

  /** From the kernel's request: libfuse gives no times at all where only one of them is to change. */
  function setTimes(thread: ThreadMemory, path: Name): void {
    const request = requests.making(thread, op.SETATTR, "");
    if (timed.get(thread) === requestNumber(request)) return;
    timed.set(thread, requestNumber(request));
    const valid = request.readUInt32LE(BODY);
    const time = (bit: number, nowBit: number, seconds: number, nanos: number): NewTime | undefined => {
      if ((valid & bit) === 0) return undefined;
      if ((valid & nowBit) !== 0) return "now";
      return { seconds: Number(request.readBigInt64LE(BODY + seconds)), nanos: request.readUInt32LE(BODY + nanos) };
    };
    const atime = time(fattr.ATIME, fattr.ATIME_NOW, 32, 56);
    const mtime = time(fattr.MTIME, fattr.MTIME_NOW, 40, 60);
    if (atime !== undefined || mtime !== undefined) files.setattr(nodes.nodeAt(path), undefined, { atime, mtime });
  }

  /** Calls of libfuse for parts of SETATTR. */
  function change(thread: ThreadMemory, path: Name, answer: Answer, act: () => void): void {
    serve(thread, { method: "setattr", paths: [path] }, answer, () => {
      act();
      return 0;
    });
  }

  /** Something new with a name, which belongs to whoever asks. */
  function make(
    thread: ThreadMemory,
    path: Name,
    { code, method }: { readonly code: number; readonly method: string },
    answer: Answer,
    act: (caller: Caller, place: ReturnType<PathNodes["placeOf"]>) => { readonly node: number },
  ): void {
    serve(thread, { method, paths: [path] }, answer, () => {
      const place = nodes.placeOf(path);
      nodes.note(act(callerOf(requests.making(thread, code, place.name)), place).node);
      return 0;
    });
  }

  function remove(thread: ThreadMemory, path: Name, answer: Answer): void {
    serve(thread, { method: "unlink", paths: [path] }, answer, () => {
      const { parent, name } = nodes.placeOf(path);
      const node = nodes.nodeAt(path);
      files.unlink(parent, name);
      nodes.unlinked(node);
      return 0;
    });
  }

  /** libfuse gives files that are open another name instead of removing them. Here their name goes as asked, and they are known by the other one. */
  function hide(thread: ThreadMemory, path: Name, hiddenPath: Name, answer: Answer): void {
    const isReplaced = requests.of(thread).readUInt32LE(4) === op.RENAME;
    // What is replaced goes with the renaming itself, for which libfuse calls next.
    serve(thread, { method: isReplaced ? undefined : "unlink", paths: [path] }, answer, () => {
      nodes.hide(path, hiddenPath);
      if (isReplaced) return 0;
      const { parent, name } = nodes.placeOf(path);
      try {
        files.unlink(parent, name);
        nodes.unlinked(nodes.nodeAt(hiddenPath));
      } catch (error) {
        nodes.unhide(hiddenPath);
        throw error;
      }
      return 0;
    });
  }

  function rename(thread: ThreadMemory, from: Name, to: Name, answer: Answer): void {
    if (isHidden(to)) return hide(thread, from, to, answer);
    serve(thread, { method: "rename", paths: [from, to] }, answer, () => {
      const [source, target] = [nodes.placeOf(from), nodes.placeOf(to)];
      const replaced = nodes.find(to);
      files.rename(source.parent, source.name, target.parent, target.name, 0);
      if (replaced !== undefined && replaced !== nodes.nodeAt(to)) nodes.unlinked(replaced);
      return 0;
    });
  }

  /** Data that the kernel keeps would hide faults that hit reading; so it is told to drop them after each operation. */
  function forgetData(paths: readonly Name[], node: bigint): void {
    if (!faults.isIdle && !cacheRulesFor(gate.faultsOn(paths.map((path) => nodes.visible(path)))).keepsData) options.onStale(node);
  }

  const handlers: Readonly<Record<string, Handler>> = {
    init: plain("init", (thread, answer) => {
      try {
        requests.making(thread, op.INIT, "");
        options.onInit();
      } catch (error) {
        options.onUnknown(error);
      }
      answer(0);
    }),
    getattr: giving(
      "getattr",
      () => [noStat],
      (thread, answer, path: string) => lookAt(thread, pathOf(thread, path), undefined, answer),
    ),
    fgetattr: giving(
      "fgetattr",
      () => [noStat],
      (thread, answer, path: string, handle: number) => lookAt(thread, pathOf(thread, path), handle, answer),
    ),
    chmod: plain("chmod", (thread, answer, path: string, mode: number) => {
      const name = pathOf(thread, path);
      change(thread, name, answer, () => files.setattr(nodes.nodeAt(name), undefined, { mode }));
    }),
    chown: plain("chown", (thread, answer, path: string, uid: number, gid: number) => {
      const name = pathOf(thread, path);
      change(thread, name, answer, () =>
        files.setattr(nodes.nodeAt(name), undefined, {
          uid: uid === SAME_OWNER ? undefined : uid,
          gid: gid === SAME_OWNER ? undefined : gid,
        }),
      );
    }),
    truncate: plain("truncate", (thread, answer, path: string, low: number, high: number) => {
      const name = pathOf(thread, path);
      change(thread, name, answer, () => files.setattr(nodes.nodeAt(name), undefined, { size: join(low, high) }));
    }),
    ftruncate: plain("ftruncate", (thread, answer, path: string, handle: number, low: number, high: number) =>
      change(thread, pathOf(thread, path), answer, () => files.setattr(nodes.nodeOf(handle), handle, { size: join(low, high) })),
    ),
    utimens: plain("utimens", (thread, answer, path: string) => {
      const name = pathOf(thread, path);
      change(thread, name, answer, () => setTimes(thread, name));
    }),
    readlink: giving(
      "readlink",
      () => [""],
      (thread, answer, path: string) => {
        const name = pathOf(thread, path);
        serve(thread, { method: "readlink", paths: [name] }, answer, (verdict) => {
          const target = Buffer.from(files.readlink(nodes.nodeAt(name)), "latin1");
          if (verdict !== undefined) makeMistakes(target, verdict, random);
          calls.giveTarget(thread, target.toString("latin1"));
          return 0;
        });
      },
    ),
    mknod: plain("mknod", (thread, answer, path: string, mode: number, device: number) =>
      make(thread, pathOf(thread, path), { code: op.MKNOD, method: "mknod" }, answer, (caller, { parent, name }) =>
        files.mknod(parent, name, mode, device, caller),
      ),
    ),
    mkdir: plain("mkdir", (thread, answer, path: string, mode: number) =>
      make(thread, pathOf(thread, path), { code: op.MKDIR, method: "mkdir" }, answer, (caller, { parent, name }) =>
        files.mkdir(parent, name, mode, caller),
      ),
    ),
    symlink: plain("symlink", (thread, answer, target: string, path: string) => {
      const bytes = pathOf(thread, target);
      make(thread, destOf(thread, path), { code: op.SYMLINK, method: "symlink" }, answer, (caller, { parent, name }) =>
        files.symlink(parent, name, bytes, caller),
      );
    }),
    link: plain("link", (thread, answer, path: string, newPath: string) => {
      const from = pathOf(thread, path);
      make(thread, destOf(thread, newPath), { code: op.LINK, method: "link" }, answer, (_caller, { parent, name }) =>
        files.link(nodes.nodeAt(from), parent, name),
      );
    }),
    unlink: plain("unlink", (thread, answer, path: string) => {
      const name = pathOf(thread, path);
      if (nodes.unhide(name)) answer(0);
      else remove(thread, name, answer);
    }),
    rmdir: plain("rmdir", (thread, answer, path: string) => {
      const name = pathOf(thread, path);
      serve(thread, { method: "rmdir", paths: [name] }, answer, () => {
        const place = nodes.placeOf(name);
        const node = nodes.nodeAt(name);
        files.rmdir(place.parent, place.name);
        nodes.unlinked(node);
        return 0;
      });
    }),
    rename: plain("rename", (thread, answer, path: string, newPath: string) =>
      rename(thread, pathOf(thread, path), destOf(thread, newPath), answer),
    ),
    open: opening("open", (thread, answer, path: string, openFlags: number) => {
      const name = pathOf(thread, path);
      serve(thread, { method: "open", paths: [name] }, answer, () => {
        const node = nodes.nodeAt(name);
        const handle = files.open(node, openFlags);
        nodes.opened(handle, node);
        return handle;
      });
    }),
    create: opening("create", (thread, answer, path: string, mode: number) => {
      const name = pathOf(thread, path);
      // libfuse does MKNOD of a regular file with it as well.
      const isMknod = requests.of(thread).readUInt32LE(4) === op.MKNOD;
      serve(thread, { method: isMknod ? "mknod" : "create", paths: [name] }, answer, () => {
        const place = nodes.placeOf(name);
        const request = requests.making(thread, isMknod ? op.MKNOD : op.CREATE, place.name);
        const openFlags = isMknod ? constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY : request.readUInt32LE(BODY);
        const { entry, handle } = files.create(place.parent, place.name, openFlags, mode, callerOf(request));
        nodes.note(entry.node);
        nodes.opened(handle, entry.node);
        return handle;
      });
    }),
    read: giving("read", dataOf, (thread, answer, path: string, handle: number, into: Buffer, size: number, low: number, high: number) => {
      const name = pathOf(thread, path);
      const kernelNode = requests.of(thread).readBigUInt64LE(16);
      readNodes.set(handle, kernelNode);
      const answerAndForget = (result: number): void => {
        answer(result);
        forgetData([name], kernelNode);
      };
      serve(thread, { method: "read", paths: [name] }, answerAndForget, (verdict) => {
        const read = files.read(handle, into, 0, size, join(low, high));
        if (verdict !== undefined) makeMistakes(into.subarray(0, read), verdict, random);
        return read;
      });
    }),
    write: giving(
      "write",
      dataOf,
      (thread, answer, path: string, handle: number, from: Buffer, size: number, low: number, high: number) => {
        const name = pathOf(thread, path);
        const kernelNode = requests.of(thread).readBigUInt64LE(16);
        const answerAndForget = (result: number): void => {
          answer(result);
          forgetData([name], kernelNode);
        };
        serve(thread, { method: "write", paths: [name] }, answerAndForget, (verdict) => {
          if (verdict !== undefined) makeMistakes(from.subarray(0, size), verdict, random);
          return files.write(handle, from, 0, size, join(low, high));
        });
      },
    ),
    flush: plain("flush", (thread, answer, path: string, handle: number) =>
      serve(thread, { method: "flush", paths: [pathOf(thread, path)] }, answer, () => {
        files.flush(handle);
        return 0;
      }),
    ),
    fsync: plain("fsync", (thread, answer, path: string, dataOnly: number, handle: number) =>
      serve(thread, { method: "fsync", paths: [pathOf(thread, path)] }, answer, () => syncSlowly(handle, { dataOnly: dataOnly !== 0 })),
    ),
    release: plain("release", (thread, answer, _path: string, handle: number) =>
      serve(thread, { method: undefined, paths: [] }, answer, () => {
        nodes.closed(handle);
        readNodes.delete(handle);
        files.release(handle);
        return 0;
      }),
    ),
    opendir: opening("opendir", (thread, answer, path: string) => {
      const name = pathOf(thread, path);
      serve(thread, { method: "opendir", paths: [name] }, answer, () => {
        const node = nodes.nodeAt(name);
        const handle = files.opendir(node);
        nodes.opened(handle, node);
        return handle;
      });
    }),
    readdir: giving(
      "readdir",
      () => [[], []],
      (thread, answer, path: string) =>
        serve(thread, { method: "readdir", paths: [pathOf(thread, path)] }, answer, () => {
          list(thread, calls.handleOf(thread));
          return 0;
        }),
    ),
    fsyncdir: plain("fsyncdir", (thread, answer, _path: string, dataOnly: number, handle: number) =>
      serve(thread, { method: undefined, paths: [] }, answer, () => syncSlowly(handle, { dataOnly: dataOnly !== 0 })),
    ),
    releasedir: plain("releasedir", (thread, answer, _path: string, handle: number) =>
      serve(thread, { method: undefined, paths: [] }, answer, () => {
        nodes.closed(handle);
        files.releasedir(handle);
        return 0;
      }),
    ),
    statfs: giving(
      "statfs",
      () => [noSpace],
      (thread, answer, path: string) => {
        const name = pathOf(thread, path);
        serve(thread, { method: "statfs", paths: [name] }, answer, () => {
          calls.giveSpace(thread, files.statfs(nodes.nodeAt(name)));
          return 0;
        });
      },
    ),
    setxattr: giving(
      "setxattr",
      bufferAt(2),
      (thread, answer, path: string, name: string, value: Buffer, _position: number, how: number) => {
        const [file, attribute] = [pathOf(thread, path), calls.text(thread, "name", name)];
        serve(thread, { method: "setxattr", paths: [file] }, answer, () => {
          files.setxattr(nodes.nodeAt(file), attribute, value, how);
          return 0;
        });
      },
    ),
    getxattr: giving("getxattr", bufferAt(2), (thread, answer, path: string, name: string, into: Buffer) => {
      const [file, attribute] = [pathOf(thread, path), calls.text(thread, "name", name)];
      serve(thread, { method: "getxattr", paths: [file] }, answer, () =>
        fill(into, calls.roomOf(thread), files.getxattr(nodes.nodeAt(file), attribute)),
      );
    }),
    listxattr: giving("listxattr", bufferAt(1), (thread, answer, path: string, into: Buffer) => {
      const file = pathOf(thread, path);
      serve(thread, { method: "listxattr", paths: [file] }, answer, () =>
        fill(into, calls.roomOf(thread), files.listxattr(nodes.nodeAt(file))),
      );
    }),
    removexattr: plain("removexattr", (thread, answer, path: string, name: string) => {
      const [file, attribute] = [pathOf(thread, path), calls.text(thread, "name", name)];
      serve(thread, { method: "removexattr", paths: [file] }, answer, () => {
        files.removexattr(nodes.nodeAt(file), attribute);
        return 0;
      });
    }),
  };

  function list(thread: ThreadMemory, handle: number): void {
    for (let position = 0n; ; ) {
      const entries = files.readdir(handle, position, 65_536);
      if (entries.length === 0) return;
      for (const entry of entries) {
        if (!calls.giveEntry(thread, entry)) throw FileError.of(errors.EIO);
        position = entry.next;
      }
    }
  }

  return {
    handlers,
    onRulesChanged() {
      gate.onRulesChanged();
      return [...new Set(readNodes.values())];
    },
  };
}

const join = (low: number, high: number): number => low + high * 2 ** 32;

/** An extended attribute, or its size where that is what is asked for. */
function fill(into: Buffer, room: number, value: Buffer): number {
  if (room === 0) return value.length;
  if (value.length > room) throw FileError.of(errors.ERANGE);
  value.copy(into);
  return value.length;
}

/** Not on this thread: a disk may take its time, and other operations go on. */
function syncSlowly(fd: number, { dataOnly }: { readonly dataOnly: boolean }): Promise<number> {
  return new Promise((resolve) => {
    (dataOnly ? fdatasync : fsync)(fd, (error) => resolve(error === null ? 0 : (error.errno ?? -errors.EIO)));
  });
}
