import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { mkdir, open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { readIfThere } from "./files.ts";
import { lab, type LabNode, nodeLayout } from "./node/layout.ts";
import { identify, isAlive } from "./process-table.ts";
import { run, SYSTEM_PATH } from "./run.ts";
import { nodeModules, prepareUml, quote } from "./uml-kernel.ts";

const START_TIMEOUT_MS = 120_000;
const POLL_MS = 100;
/** Taken from the machine as it is used. Ten pods with a sidecar each need half of it. */
const UML_MEMORY_MB = 2500;
/** The file takes only what is written to it. */
const UML_DISK_BYTES = 8 * 2 ** 30;
const MAIN = join(import.meta.dirname, "node", "main.ts");

/** Starts a node in the lab's network and waits until its first process says that it works. Throws an Error with the reason why it does not. */
export async function startNode(state: string, node: LabNode): Promise<void> {
  const layout = nodeLayout(state, node);
  await mkdir(layout.logs, { recursive: true });
  await mkdir(layout.configuration, { recursive: true });
  const pid = node.kernel === "uml" ? await spawnUmlNode(state, node) : await spawnMachineNode(state, node);
  await writeFile(layout.outer, await identify(pid));
  const end = performance.now() + START_TIMEOUT_MS;
  try {
    while ((await readIfThere(layout.ready)) === undefined) {
      const why = await readIfThere(layout.failed);
      if (why !== undefined) throw new Error(why);
      if (!(await isAlive(pid))) throw new Error("its first process ended");
      if (performance.now() > end) throw new Error(`it is not ready after ${START_TIMEOUT_MS / 1000} s`);
      await sleep(POLL_MS);
    }
  } catch (error) {
    // What is left stays for reading; the next `up` or `down` removes it.
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`Node ${node.name} did not start: ${reason}\nIts logs are in ${layout.logs}.`, { cause: error });
  }
}

/**
 * Starts the node in namespaces of its own and returns the id of the process whose death ends all of it. tini(1) is process 1 there:
 * it reaps what pods leave behind, and ends when our own first process does.
 */
function spawnMachineNode(state: string, node: LabNode): Promise<number> {
  const namespaces = ["--pid", "--mount", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc"];
  const first = ["env", "-i", `PATH=${SYSTEM_PATH}`, `HOME=${state}`, ...firstProcess(state, node)];
  return spawnInNetwork(["unshare", ...namespaces, ...first], join(nodeLayout(state, node).logs, "node.log"));
}

/** The same in a kernel of its own, whose processes are all processes of this machine and end with their kernel. */
async function spawnUmlNode(state: string, node: LabNode): Promise<number> {
  const layout = nodeLayout(state, node);
  const disk = join(layout.configuration, "disk");
  await createDisk(disk);
  const kernel = await prepareUml({
    folder: layout.configuration,
    memoryMb: UML_MEMORY_MB,
    commands: [`${firstProcess(state, node).map(quote).join(" ")} > ${quote(join(layout.logs, "node.log"))} 2>&1`],
    modules: nodeModules,
    parameters: [`ubd0=${disk}`, `eth0=tuntap,${lab.umlDevice}`],
  });
  return await spawnInNetwork(["env", "-i", `PATH=${SYSTEM_PATH}`, ...kernel], join(layout.logs, "kernel.log"));
}

function firstProcess(state: string, node: LabNode): readonly string[] {
  return ["tini", "-s", "--", process.execPath, MAIN, state, node.name];
}

async function createDisk(file: string): Promise<void> {
  const handle = await open(file, "w");
  try {
    await handle.truncate(UML_DISK_BYTES);
  } finally {
    await handle.close();
  }
  await run(["mkfs.ext4", "-q", "-O", "^has_journal", file]);
}

async function spawnInNetwork(argv: readonly string[], logFile: string): Promise<number> {
  const log = openSync(logFile, "a");
  const child = spawn("nsenter", [`--net=/run/netns/${lab.namespace}`, ...argv], {
    detached: true,
    cwd: "/",
    stdio: ["ignore", log, log],
  });
  closeSync(log);
  return await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("spawn", () => {
      child.unref();
      resolve(child.pid ?? 0);
    });
  });
}
