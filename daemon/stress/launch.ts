/** Programs that a stress-ng is started through, by absolute path: PATH is not asked. */
export const stressPrograms = {
  setpriv: "/usr/bin/setpriv",
  nsenter: "/usr/bin/nsenter",
  unshare: "/usr/bin/unshare",
  xargs: "/usr/bin/xargs",
  prlimit: "/usr/bin/prlimit",
  timeout: "/usr/bin/timeout",
  stressng: "/usr/bin/stress-ng",
} as const;

/** Of nobody else on the node: beside our mark, what tells our workers. */
export const STRESS_USER_ID = 65_011;

/** What is written to standard input for the process to start; an end of input without it ends the process unstarted. */
export const START = "--keep-name";

export interface Launch {
  /** A process of the target; its pid namespace is entered. */
  readonly pid: number;
  /** The target has a user namespace of its own. */
  readonly entersUserNamespace: boolean;
  /** After that many seconds it is killed, should stress-ng itself not have ended. */
  readonly killAfterSeconds: number;
  readonly arguments: readonly string[];
}

const DIES_WITH_PARENT = ["--pdeathsig", "KILL"] as const;

/**
 * The command line that runs a stress-ng beside a target, once START is written to its standard input. Its first process stays the same until
 * then, so that it can be put into groups meanwhile. See setpriv(1), nsenter(1), unshare(1).
 *
 * - Whatever dies, what it started is killed by the kernel: the daemon, any process in between, the target's first process.
 * - stress-ng is process 1 of a pid namespace inside the target's: killing it kills all its workers at once.
 * - In the target's pid namespace nothing runs with a privilege for longer than it takes to drop it. Workers have a user of their own, no
 *   capabilities and no way to new ones, no network, no System V IPC of others, and write no files.
 */
export function renderLaunch({
  pid,
  entersUserNamespace,
  killAfterSeconds,
  arguments: parameters,
}: Launch): readonly [string, ...string[]] {
  const user = String(STRESS_USER_ID);
  return [
    stressPrograms.nsenter,
    ...["--no-fork", ...(entersUserNamespace ? [`--user=/proc/${pid}/ns/user`] : []), `--pid=/proc/${pid}/ns/pid`],
    // After nsenter: entering a user namespace may clear it.
    ...[stressPrograms.setpriv, ...DIES_WITH_PARENT],
    ...[stressPrograms.xargs, "--null", "--no-run-if-empty"],
    ...[stressPrograms.unshare, "--pid", "--net", "--ipc"],
    ...[stressPrograms.prlimit, "--core=0:0", "--fsize=0:0"],
    ...[
      stressPrograms.setpriv,
      "--reuid",
      user,
      "--regid",
      user,
      "--clear-groups",
      "--inh-caps=-all",
      "--bounding-set=-all",
      "--no-new-privs",
    ],
    ...DIES_WITH_PARENT,
    ...[stressPrograms.timeout, "--signal=KILL", String(killAfterSeconds)],
    ...[stressPrograms.setpriv, ...DIES_WITH_PARENT],
    ...[stressPrograms.stressng, ...parameters],
  ];
}
