import { readdir, readFile } from "node:fs/promises";

/** Processes of pods, told by their cgroups. */
export interface PodMembers {
  /** Whether a process is one of this pod. */
  isMember(pid: number, podUid: string): Promise<boolean>;
  /** Whether a pod has a process that goes on, but for that which holds its namespaces. One that was killed counts no more, though it waits for a file and cannot end before. */
  hasProcesses(podUid: string): Promise<boolean>;
}

/** What the container runtimes hold a pod's namespaces with. */
const HOLDER = "pause";

/** Reads /proc; this process must be in the node's pid namespace. */
export function createPodMembers(): PodMembers {
  const isMember = async (pid: number, podUid: string): Promise<boolean> => {
    const text = await readFile(`/proc/${pid}/cgroup`, "latin1").catch(() => ""); // it has ended
    return text.split("\n").some((line) => namesPod(line, podUid));
  };
  const isOther = async (pid: number): Promise<boolean> =>
    (await readFile(`/proc/${pid}/comm`, "latin1").catch(() => HOLDER)).trim() !== HOLDER; // it has ended: as good as none
  return {
    isMember,
    async hasProcesses(podUid) {
      for (const entry of await readdir("/proc")) {
        const pid = Number(entry);
        if (Number.isInteger(pid) && (await isMember(pid, podUid)) && (await isOther(pid)) && (await goesOn(pid))) return true;
      }
      return false;
    },
  };
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
