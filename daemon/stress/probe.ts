import { access, chmod, constants, mkdir } from "node:fs/promises";
import type { Clock } from "../../common/clock.ts";
import type { CgroupTree } from "../cgroup/cgroup-tree.ts";
import { stressPrograms } from "./launch.ts";
import { startStress } from "./start-stress.ts";

/** Makes the folder that workers may write to. */
export async function openScratchFolder(path: string): Promise<string> {
  await mkdir(path, { recursive: true });
  await chmod(path, 0o1777);
  return path;
}

/**
 * Why containers of this node cannot be stressed; undefined where they can. Found out by a worker that does next to nothing beside this very
 * process.
 */
export async function findWhatStressLacks(tools: {
  readonly cgroups: CgroupTree;
  readonly clock: Clock;
  readonly scratchFolder: string;
}): Promise<string | undefined> {
  const missing = await Promise.all(Object.values(stressPrograms).map(async (path) => ((await isExecutable(path)) ? [] : [path])));
  const names = missing.flat();
  if (names.length > 0) return `The image lacks ${names.join(", ")}, which stress needs.`;
  const fault = { cpu: { workers: 1, loadPercent: 1, options: [] }, stressngArguments: "" };
  const started = await startStress({ id: "probe", pid: process.pid, fault, untilMs: undefined }, tools);
  if (started.is === "refused") return `Stress does not work here: ${started.problems.join(" ")}`;
  const { stress } = started;
  const isSeen = stress.receipt.workers > 0;
  await stress.stop();
  return isSeen
    ? undefined
    : "Stress does not work here: workers of stress-ng are not seen. Give the daemon the capability SYS_PTRACE and hostPID.";
}

const isExecutable = (path: string): Promise<boolean> =>
  access(path, constants.X_OK).then(
    () => true,
    () => false, // not there, or not for us: told by name
  );
