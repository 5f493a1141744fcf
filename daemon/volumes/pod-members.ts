import { readdir, readFile } from "node:fs/promises";

/** Processes of pods, told by their cgroups. */
export interface PodMembers {
  /** Whether a process is one of this pod. */
  isMember(pid: number, podUid: string): Promise<boolean>;
  /** Whether a pod has a process that goes on, but for that which holds its namespaces. One that was killed counts no more, though it waits for a file and cannot end before. */
  hasProcesses(podUid: string): Promise<boolean>;
  /** The same of its containers but that of one process. */
  hasProcessesBeside(pid: number, podUid: string): Promise<boolean>;
}

/** What the container runtimes hold a pod's namespaces with; `pod` is OpenShift's. */
const holders: ReadonlySet<string> = new Set(["pause", "pod"]);

/** Reads /proc; this process must be in the node's pid namespace. */
export function createPodMembers(): PodMembers {
  const groupsOf = (pid: number): Promise<string> => readFile(`/proc/${pid}/cgroup`, "latin1").catch(() => ""); // it has ended
  const isOf = (groups: string, podUid: string): boolean => groups.split("\n").some((line) => namesPod(line, podUid));
  const hasOutside = async (left: string | undefined, podUid: string): Promise<boolean> => {
    for (const entry of await readdir("/proc")) {
      const pid = Number(entry);
      if (!Number.isInteger(pid)) continue;
      const groups = await groupsOf(pid);
      if (groups !== left && isOf(groups, podUid) && !(await isHolder(pid)) && (await goesOn(pid))) return true;
    }
    return false;
  };
  return {
    isMember: async (pid, podUid) => isOf(await groupsOf(pid), podUid),
    hasProcesses: (podUid) => hasOutside(undefined, podUid),
    hasProcessesBeside: async (pid, podUid) => hasOutside(await groupsOf(pid), podUid),
  };
}

async function isHolder(pid: number): Promise<boolean> {
  const name = await readFile(`/proc/${pid}/comm`, "latin1").catch(() => undefined);
  return name === undefined || holders.has(name.trim()); // what has ended is as good as none
}

async function goesOn(pid: number): Promise<boolean> {
  const threads = await readdir(`/proc/${pid}/task`).catch(() => []); // it has ended
  for (const thread of threads) {
    const status = await readFile(`/proc/${pid}/task/${thread}/status`, "latin1").catch(() => "");
    if (status !== "" && !isEnding(status)) return true;
  }
  return false;
}

const SIGKILL_BIT = 1n << 8n;

/** Whether a thread has ended or is being killed, by its /proc/PID/task/TID/status, see proc_pid_status(5). */
export function isEnding(status: string): boolean {
  if (/^State:\s+[ZX]/m.test(status)) return true;
  return [...status.matchAll(/^(?:SigPnd|ShdPnd):\s+([0-9a-f]+)$/gm)].some(([, pending]) => (BigInt(`0x${pending}`) & SIGKILL_BIT) !== 0n);
}

/**
 * Whether a line of /proc/PID/cgroup is of a group of this pod: `…/podUID/…` where the kubelet names groups itself, `…-podUID.slice/…` with
 * underscores where systemd does.
 */
export const namesPod = (line: string, podUid: string): boolean =>
  line.split("/").some((name) => name === `pod${podUid}` || name.endsWith(`-pod${podUid.replaceAll("-", "_")}.slice`));
