import { spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { systemClock } from "../../../common/clock.ts";
import { openCgroupTree } from "../../../daemon/cgroup/cgroup-tree.ts";
import { renderLaunch, START } from "../../../daemon/stress/launch.ts";
import { MARK, sweepStress } from "../../../daemon/stress/marked.ts";
import { startStress } from "../../../daemon/stress/start-stress.ts";
import type { StressFault } from "../../../daemon/stress/stress-fault.ts";

/** A life of the daemon, as far as stress goes: does one thing, and prints one line. */
const [act = "", ...rest] = process.argv.slice(2);
const cgroups = openCgroupTree("/sys/fs/cgroup");
const say = (text: string): void => void process.stdout.write(`${text}\n`);

async function start(pid: string, lastsMs: string, fault: string): Promise<void> {
  const untilMs = systemClock.monotonicMs() + Number(lastsMs);
  const order = { id: "life", pid: Number(pid), untilMs, fault: JSON.parse(fault) as StressFault };
  const started = await startStress(order, { cgroups, clock: systemClock, scratchFolder: "/tmp" });
  say(started.is);
  setInterval(() => undefined, 1000);
}

/** Workers that outlive their daemon, as a kernel would leave them that did not do its part. */
async function startUndying(pid: string): Promise<void> {
  const launch = { pid: Number(pid), entersUserNamespace: false, killAfterSeconds: 60, arguments: ["--temp-path", "/tmp", "--cpu", "2"] };
  const [program, ...parameters] = renderLaunch(launch).map((word, at, all) => (all[at - 1] === "--pdeathsig" ? "clear" : word));
  const child = spawn(program ?? "", parameters, { env: { [MARK]: "life.0" }, stdio: ["pipe", "ignore", "ignore"], detached: true });
  await new Promise<void>((resolve) => child.stdin.end(`${START}\0`, resolve));
  setTimeout(() => say("running"), 500);
}

/** Does another act in a cgroup namespace of its own, below these groups, as containers have it. */
async function inContainer(folders: readonly string[], act: readonly string[]): Promise<void> {
  for (const folder of folders) await writeFile(join(folder, "cgroup.procs"), String(process.pid));
  spawn("setpriv", ["--pdeathsig", "KILL", "unshare", "--cgroup", process.execPath, import.meta.filename, ...act], { stdio: "inherit" });
}

switch (act) {
  case "start":
    await start(rest[0] ?? "", rest[1] ?? "", rest[2] ?? "");
    break;
  case "start-undying":
    await startUndying(rest[0] ?? "");
    break;
  case "sweep":
    say(String(await sweepStress()));
    break;
  case "in-container":
    await inContainer((rest[0] ?? "").split(":"), rest.slice(1));
    break;
  case "find":
    say(JSON.stringify([...(await cgroups.find(Number(rest[0])))]));
    break;
  default:
    throw new Error(`No act ${act}.`);
}
