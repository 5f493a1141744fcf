import { isDeepStrictEqual } from "node:util";
import { type IoFault, type IoMistake, IoMistake_Filling } from "../../proto/gen/faults.ts";
import type { Attributes, Name } from "./file-operations.ts";
import { compileGlob } from "./glob.ts";
import { modes } from "./libc.ts";
import type { Counts, ServedFault } from "./server-messages.ts";

/** A fault that is ready to be asked. */
export interface CompiledFault {
  readonly id: string;
  readonly io: IoFault;
  /** As `performance.now()` counts. */
  endMs: number;
  readonly methods: ReadonlySet<string> | undefined;
  readonly matchesPath: (volumePath: Name) => boolean;
  readonly counts: Map<string, MethodCounts>;
  firstMs: number;
  lastMs: number;
}

interface MethodCounts {
  /** Operations that the volume had seen when the fault was first asked. */
  readonly unseen: number;
  matched: number;
  delayed: number;
  failed: number;
  falsified: number;
}

/** What is to become of one operation. */
export interface Verdict {
  readonly delayMs: number;
  /** 0: it is done. */
  readonly errno: number;
  readonly faults: readonly CompiledFault[];
}

/** What the kernel must not keep, lest faults go unseen. */
export interface CacheRules {
  readonly keepsData: boolean;
  readonly keepsNames: boolean;
}

const LOOKING: ReadonlySet<string> = new Set(["lookup", "getattr"]);
const DATA: readonly string[] = ["read", "write", "readlink"];
const keepsAll: CacheRules = { keepsData: true, keepsNames: true };

/**
 * Decides which faults hit an operation. Knows nothing of drivers and files: a driver asks with the method and the paths of each operation, and does
 * what the verdict says. Faults are asked in the order of their ids: delays add up, the first error wins, attributes and mistakes come one after
 * the other.
 */
export class FaultLayer {
  #faults: readonly CompiledFault[] = [];
  readonly #seen = new Map<string, number>();
  readonly #nowMs: () => number;
  readonly #random: () => number;
  /** Grows when an answer of `faultsAt` may have changed. */
  epoch = 0;

  constructor({ nowMs, random }: { readonly nowMs: () => number; readonly random: () => number }) {
    this.#nowMs = nowMs;
    this.#random = random;
  }

  get isIdle(): boolean {
    return this.#faults.length === 0;
  }

  /** Takes the complete set. Returns faults that came, went or changed: what is cached about their files is to be dropped. */
  rule(served: readonly ServedFault[]): readonly CompiledFault[] {
    const nowMs = this.#nowMs();
    const before = this.#faults;
    const after = served
      .toSorted((one, other) => (one.id < other.id ? -1 : 1))
      .map(({ id, io, remainingMs }) => {
        const old = before.find((fault) => fault.id === id);
        if (old === undefined || !isDeepStrictEqual(old.io, io)) return compile(id, io, nowMs + remainingMs, old);
        old.endMs = nowMs + remainingMs;
        return old;
      });
    this.#faults = after;
    const changed = [...before.filter((fault) => !after.includes(fault)), ...after.filter((fault) => !before.includes(fault))];
    if (changed.length > 0) this.epoch += 1;
    return changed;
  }

  /** Whether a fault is still wanted and its time is not over. */
  isInForce(fault: CompiledFault): boolean {
    return this.#faults.includes(fault) && this.#nowMs() < fault.endMs;
  }

  /** Faults on a path of the volume. To be remembered by the caller as long as `epoch` stays. */
  faultsAt(volumePath: Name): readonly CompiledFault[] {
    return this.#faults.filter(({ matchesPath }) => matchesPath(volumePath));
  }

  /** Counts an operation, whatever becomes of it. */
  see(method: string): void {
    this.#seen.set(method, (this.#seen.get(method) ?? 0) + 1);
  }

  /** Draws for each of these faults whether it hits the operation. Undefined: none does. */
  judge(method: string, faults: readonly CompiledFault[]): Verdict | undefined {
    const nowMs = this.#nowMs();
    const hits = faults.filter(
      ({ methods, io, endMs }) =>
        nowMs < endMs && (methods === undefined || methods.has(method)) && (io.percent >= 100 || this.#random() * 100 < io.percent),
    );
    if (hits.length === 0) return undefined;
    let delayMs = 0;
    let errno = 0;
    const wallMs = Date.now();
    for (const fault of hits) {
      const counts = this.#countsOf(fault, method);
      counts.matched += 1;
      if (fault.firstMs === 0) fault.firstMs = wallMs;
      fault.lastMs = wallMs;
      switch (fault.io.effect?.$case) {
        case "latency":
          delayMs += fault.io.effect.value.delayUs / 1_000;
          counts.delayed += 1;
          break;
        case "error":
          if (errno !== 0) break;
          errno = fault.io.effect.value.errno;
          counts.failed += 1;
          break;
        case "attributes":
        case "mistake":
          if (errno === 0) counts.falsified += 1;
          break;
        case undefined:
          break;
      }
    }
    return { delayMs, errno, faults: hits };
  }

  counts(): readonly Counts[] {
    return this.#faults.map(({ id, counts, firstMs, lastMs }) => ({
      id,
      firstMs,
      lastMs,
      methods: [...this.#seen].flatMap(([method, seen]) => {
        const own = counts.get(method);
        return own === undefined
          ? []
          : [
              {
                method,
                seen: seen - own.unseen,
                matched: own.matched,
                delayed: own.delayed,
                failed: own.failed,
                falsified: own.falsified,
              },
            ];
      }),
    }));
  }

  #countsOf(fault: CompiledFault, method: string): MethodCounts {
    let counts = fault.counts.get(method);
    if (counts === undefined) {
      counts = { unseen: (this.#seen.get(method) ?? 1) - 1, matched: 0, delayed: 0, failed: 0, falsified: 0 };
      fault.counts.set(method, counts);
    }
    return counts;
  }
}

function compile(id: string, io: IoFault, endMs: number, old: CompiledFault | undefined): CompiledFault {
  return {
    id,
    io,
    endMs,
    methods: methodsOf(io),
    matchesPath: compilePath(io),
    counts: old?.counts ?? new Map(),
    firstMs: old?.firstMs ?? 0,
    lastMs: old?.lastMs ?? 0,
  };
}

function methodsOf({ methods, effect }: IoFault): ReadonlySet<string> | undefined {
  switch (effect?.$case) {
    case "attributes":
      return LOOKING; // whatever the experiment says, as in Chaos Mesh
    case "mistake":
      return new Set(DATA.filter((method) => methods.length === 0 || methods.includes(method)));
    case "latency":
    case "error":
    case undefined:
      return methods.length === 0 ? undefined : new Set(methods);
  }
}

/** Paths of the volume become those that the container sees. */
function compilePath({ mountPath, subPath, path }: IoFault): (volumePath: Name) => boolean {
  const mount = mountPath.replace(/\/+$/, "");
  const sub = subPath.split("/").filter((part) => part !== "" && part !== ".");
  const below = sub.length === 0 ? "" : `/${sub.join("/")}`;
  const matches = path === "" ? () => true : compileGlob(path);
  return (volumePath) => {
    const decoded = decodeName(volumePath === "/" ? "" : volumePath);
    if (decoded !== below && !decoded.startsWith(`${below}/`)) return false;
    return matches(`${mount}${decoded.slice(below.length)}` || "/");
  };
}

/** Globs are texts, names are bytes. */
const decodeName = (name: Name): string => (/[^\0-\x7f]/.test(name) ? Buffer.from(name, "latin1").toString("utf8") : name);

export function cacheRulesFor(faults: readonly CompiledFault[]): CacheRules {
  if (faults.length === 0) return keepsAll;
  const touches = (methods: readonly string[]): boolean =>
    faults.some((fault) => fault.methods === undefined || methods.some((method) => fault.methods?.has(method)));
  return { keepsData: !touches(["read", "write"]), keepsNames: !touches(["lookup", "getattr"]) };
}

/** Changes attributes as the faults say. */
export function overrideAttributes(attributes: Attributes, { faults }: Verdict): Attributes {
  let changed = attributes;
  for (const { io } of faults) {
    if (io.effect?.$case !== "attributes") continue;
    const { ino, size, blocks, atime, mtime, ctime, kind, perm, nlink, uid, gid, rdev } = io.effect.value;
    const mode = (changed.mode & modes.S_IFMT) | (perm === undefined ? changed.mode & 0o7777 : perm & 0o7777);
    changed = {
      ...changed,
      mode: kind === undefined ? mode : (mode & 0o7777) | (kind & modes.S_IFMT),
      ino: ino ?? changed.ino,
      size: size ?? changed.size,
      blocks: blocks ?? changed.blocks,
      nlink: nlink ?? changed.nlink,
      uid: uid ?? changed.uid,
      gid: gid ?? changed.gid,
      rdev: rdev ?? changed.rdev,
      ...(atime && { atime: atime.seconds, atimeNs: atime.nanos }),
      ...(mtime && { mtime: mtime.seconds, mtimeNs: mtime.nanos }),
      ...(ctime && { ctime: ctime.seconds, ctimeNs: ctime.nanos }),
    };
  }
  return changed;
}

/** Makes data wrong as the faults say, in place. The length stays. */
export function makeMistakes(bytes: Buffer, { faults }: Verdict, random: () => number): void {
  if (bytes.length === 0) return;
  for (const { io } of faults) if (io.effect?.$case === "mistake") makeMistake(bytes, io.effect.value, random);
}

function makeMistake(bytes: Buffer, { filling, maxOccurrences, maxLength }: IoMistake, random: () => number): void {
  // No more places than bytes: numbers in an experiment have no bound.
  const places = 1 + Math.floor(random() * Math.min(maxOccurrences, bytes.length));
  for (let place = 0; place < places; place += 1) {
    const start = Math.floor(random() * bytes.length);
    const length = 1 + Math.floor(random() * Math.min(maxLength, bytes.length - start));
    if (filling === IoMistake_Filling.ZERO) bytes.fill(0, start, start + length);
    else for (let at = start; at < start + length; at += 1) bytes[at] = Math.floor(random() * 256);
  }
}
