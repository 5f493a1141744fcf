import { readdirSync, readFileSync } from "node:fs";

/** Processes of pods, told by their cgroups. */
export interface PodMembers {
  /** Whether a process is one of this pod. */
  isMember(pid: number, podUid: string): boolean;
  /** Whether a process has not ended, and was not killed. One that was may wait for a file, and cannot end before. */
  goesOn(pid: number): boolean;
  /** Whether a pod has a process that goes on, but for that which holds its namespaces. */
  hasProcesses(podUid: string): boolean;
  /** The same of its containers but that of one process. */
  hasProcessesBeside(pid: number, podUid: string): boolean;
}

/** What the container runtimes hold a pod's namespaces with; `pod` is OpenShift's. */
const holders: ReadonlySet<string> = new Set(["pause", "pod"]);

/** Reads /proc; this process must be in the node's pid namespace. At once, as thousands of small reads one after the other take ten times as long otherwise. */
export function createPodMembers(): PodMembers {
  const hasOutside = (left: string | undefined, podUid: string): boolean =>
    readdirSync("/proc").some((entry) => {
      const pid = Number(entry);
      if (!Number.isInteger(pid)) return false;
      const groups = groupsOf(pid);
      return groups !== left && isOf(groups, podUid) && !isHolder(pid) && goesOn(pid);
    });
  return {
    isMember: (pid, podUid) => isOf(groupsOf(pid), podUid),
    goesOn,
    hasProcesses: (podUid) => hasOutside(undefined, podUid),
    hasProcessesBeside: (pid, podUid) => hasOutside(groupsOf(pid), podUid),
  };
}

/** Empty for a process that has ended. */
const groupsOf = (pid: number): string => read(`/proc/${pid}/cgroup`) ?? "";

const isOf = (groups: string, podUid: string): boolean => groups.split("\n").some((line) => namesPod(line, podUid));

function isHolder(pid: number): boolean {
  const name = read(`/proc/${pid}/comm`);
  return name === undefined || holders.has(name.trim()); // what has ended is as good as none
}

function goesOn(pid: number): boolean {
  const threads = attempt(() => readdirSync(`/proc/${pid}/task`)) ?? [];
  return threads.some((thread) => {
    const status = read(`/proc/${pid}/task/${thread}/status`);
    const stat = read(`/proc/${pid}/task/${thread}/stat`);
    return status !== undefined && stat !== undefined && !isEnding(status, stat);
  });
}

const read = (path: string): string | undefined => attempt(() => readFileSync(path, "latin1"));

/** Undefined where a process ended before it was looked at. */
function attempt<R>(look: () => R): R | undefined {
  try {
    return look();
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ESRCH")) return undefined;
    throw error;
  }
}

const SIGKILL_BIT = 1n << 8n;
/** include/linux/sched.h */
const PF_EXITING = 0x4;

/** Whether a thread has ended, ends, or is being killed, by its status and stat in /proc/PID/task/TID, see proc_pid_status(5) and proc_pid_stat(5). */
export function isEnding(status: string, stat: string): boolean {
  if (/^State:\s+[ZX]/m.test(status)) return true;
  // The name is in brackets and may have some itself; the state is field 3, the kernel's flags are field 9.
  const flags = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[6]);
  if ((flags & PF_EXITING) !== 0) return true;
  return [...status.matchAll(/^(?:SigPnd|ShdPnd):\s+([0-9a-f]+)$/gm)].some(([, pending]) => (BigInt(`0x${pending}`) & SIGKILL_BIT) !== 0n);
}

/**
 * Whether a line of /proc/PID/cgroup is of a group of this pod: `…/podUID/…` where the kubelet names groups itself, `…-podUID.slice/…` with
 * underscores where systemd does. CRI-O's monitors of containers may be beside them (`conmon_cgroup = "pod"`, OpenShift's setting), and are none of its.
 */
export const namesPod = (line: string, podUid: string): boolean =>
  !line.includes("/crio-conmon-") &&
  line.split("/").some((name) => name === `pod${podUid}` || name.endsWith(`-pod${podUid.replaceAll("-", "_")}.slice`));
