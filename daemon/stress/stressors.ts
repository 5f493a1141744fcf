/**
 * The stressors of stress-ng that a container may be stressed with, and their options: those that use processors, caches, memory and the
 * scheduler of the container's own groups. A stressor that is not here uses files, devices, sockets or kernel interfaces of the whole
 * node, runs programs, or needs privileges. From stress-ng(1) of version 0.15.06.
 */
export interface Stressor {
  /** What comes after "--NAME-", options that take a value. */
  readonly values?: readonly string[];
  /** The same for options that take none. */
  readonly flags?: readonly string[];
  /** The option, after "--NAME-", that says how many bytes one worker takes, or all of them together. */
  readonly bytes?: { readonly option: string; readonly of: "each" | "all" };
  /** It takes memory until none is left, so it needs a limit. */
  readonly isUnbounded?: true;
}

const method: Stressor = { values: ["method"] };
const size: Stressor = { values: ["size"] };
const plain: Stressor = {};

export const stressors: Readonly<Record<string, Stressor>> = {
  // processors
  atomic: plain,
  branch: plain,
  bsearch: size,
  context: plain,
  cpu: { values: ["load", "load-slice", "method"], flags: ["old-metrics"] },
  crypt: plain,
  fp: method,
  funccall: method,
  funcret: method,
  goto: { values: ["direction"] },
  hash: method,
  heapsort: size,
  hsearch: size,
  jpeg: { values: ["height", "image", "quality", "width"] },
  judy: size,
  list: { values: ["method", "size"] },
  longjmp: plain,
  lsearch: size,
  matrix: { values: ["method", "size"], flags: ["yx"] },
  "matrix-3d": { values: ["method", "size"], flags: ["zyx"] },
  mergesort: size,
  nop: { values: ["instr"] },
  qsort: size,
  radixsort: size,
  rotate: method,
  shellsort: size,
  skiplist: size,
  sparsematrix: { values: ["items", "method", "size"] },
  str: method,
  tree: { values: ["method", "size"] },
  tsearch: size,
  vecfp: plain,
  vecmath: plain,
  vecshuf: method,
  vecwide: plain,
  wcs: method,
  // caches and the bandwidth of memory
  cache: {
    values: ["level", "ways"],
    flags: ["cldemote", "clflushopt", "enable-all", "fence", "flush", "no-affinity", "prefetch", "sfence", "wb"],
  },
  cacheline: { values: ["method"], flags: ["affinity"] },
  icache: plain,
  l1cache: { values: ["line-size", "sets", "size", "ways", "method"] },
  mcontend: plain,
  memcpy: method,
  memrate: { values: ["bytes", "rd-mbs", "wr-mbs"], flags: ["flush"], bytes: { option: "bytes", of: "each" } },
  memthrash: method,
  prefetch: { values: ["l3-size", "method"] },
  randlist: { values: ["items", "size"], flags: ["compact"] },
  stream: { values: ["index", "l3-size", "madvise"] },
  // amounts of memory
  bigheap: { values: ["growth"], isUnbounded: true },
  brk: { flags: ["notouch"], isUnbounded: true },
  malloc: { values: ["bytes", "max", "thresh"], flags: ["touch", "zerofree"], isUnbounded: true },
  mremap: { values: ["bytes"], bytes: { option: "bytes", of: "each" } },
  stack: { flags: ["fill", "unmap"], isUnbounded: true },
  vm: {
    values: ["bytes", "hang", "madvise", "method"],
    flags: ["keep", "populate"],
    bytes: { option: "bytes", of: "all" },
  },
  // the scheduler
  futex: plain,
  nanosleep: { values: ["threads"] },
  pipe: { values: ["data-size", "size"] },
  switch: { values: ["freq", "method"] },
  yield: plain,
};

/** Options of stress-ng itself that change how stressors run, or what is printed. */
export const generalValues: ReadonlySet<string> = new Set(["backoff", "seed", "taskset", "timeout", "timer-slack"]);
export const generalFlags: ReadonlySet<string> = new Set([
  "abort",
  "aggressive",
  "log-brief",
  "metrics",
  "metrics-brief",
  "no-madvise",
  "no-rand-seed",
  "oom-avoid",
  "page-in",
  "quiet",
  "skip-silent",
  "times",
  "verbose",
  "verify",
]);

/** Short options, by their long ones. */
export const shortOptions: Readonly<Record<string, string>> = {
  b: "backoff",
  B: "bigheap",
  c: "cpu",
  C: "cache",
  l: "cpu-load",
  m: "vm",
  M: "metrics",
  p: "pipe",
  q: "quiet",
  Q: "qsort",
  s: "switch",
  t: "timeout",
  v: "verbose",
  y: "yield",
};
