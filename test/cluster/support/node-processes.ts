import { readdirSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import { lab } from "../../../lab/node/layout.ts";

/** PIDs, as this machine counts them, of the processes in a pod's containers whose command line contains `word`. Only a lab shares its process table with us. */
export function podProcesses(podUid: string, word: string): readonly number[] {
  return readdirSync("/proc").flatMap((entry) => {
    if (!/^\d+$/.test(entry)) return [];
    try {
      const isInPod = readFileSync(`/proc/${entry}/cgroup`, "utf8").includes(`pod${podUid}`);
      return isInPod && readFileSync(`/proc/${entry}/cmdline`, "utf8").includes(word) ? [Number(entry)] : [];
    } catch {
      return []; // ended between the listing and the look
    }
  });
}

/** Pids of a program of the lab's node. */
export function nodeProcesses(program: string): readonly number[] {
  return readdirSync("/proc").flatMap((entry) => {
    if (!/^\d+$/.test(entry)) return [];
    try {
      const [path = ""] = readFileSync(`/proc/${entry}/cmdline`, "utf8").split("\0");
      const isOfTheLab = readFileSync(`/proc/${entry}/cgroup`, "utf8").includes(`/${lab.cgroup}/node`);
      return isOfTheLab && basename(path) === program ? [Number(entry)] : [];
    } catch {
      return []; // ended between the listing and the look
    }
  });
}

/** Sends a signal to each; one that is gone already is as good as hit. */
export function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }
}
