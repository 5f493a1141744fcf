import { spawn } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { run } from "../../../lab/run.ts";
import type { IoFault } from "../../../proto/gen/faults.ts";
import { LibfuseVolume } from "./libfuse-volume.ts";
import { Volume } from "./volume.ts";

/** A place for files of a test or bench: as they are, or served by somebody. */
export interface Stage {
  readonly path: string;
  /** The server's process; undefined where there is none. */
  readonly pid: number | undefined;
  close(): Promise<void>;
}

export type Way =
  | { readonly by: "nobody" }
  | { readonly by: "squall"; readonly rules?: Readonly<Record<string, Partial<IoFault>>>; readonly cpu?: string }
  /** By the driver for nodes without the daemon. */
  | { readonly by: "libfuse"; readonly rules?: Readonly<Record<string, Partial<IoFault>>>; readonly cpu?: string }
  /** `argv` of a server that stays in the foreground, given the folder and where to serve it. */
  | { readonly by: "program"; readonly argv: (plain: string, path: string) => readonly string[]; readonly cpu?: string };

/** Asks for every operation and hits none of them: nothing is cached, all reads and writes are direct. */
export const watchAll: Readonly<Record<string, Partial<IoFault>>> = {
  watch: { percent: 1e-12, effect: { $case: "latency", value: { delayUs: 1 } } },
};

/** Makes a folder below `under`, which decides the file system it is on. */
export async function openStage(way: Way, under: string): Promise<Stage> {
  switch (way.by) {
    case "nobody": {
      const path = mkdtempSync(join(under, "squall-plain-"));
      chmodSync(path, 0o755);
      return { path, pid: undefined, close: async () => rmSync(path, { recursive: true, force: true }) };
    }
    case "squall": {
      const volume = await Volume.open(under);
      if (way.cpu !== undefined) await pin(volume.pid, way.cpu);
      if (way.rules !== undefined) await volume.rule(way.rules);
      return { path: volume.path, pid: volume.pid, close: () => volume.close() };
    }
    case "libfuse": {
      const volume = await LibfuseVolume.open(under);
      if (way.rules !== undefined) await volume.rule(way.rules);
      return { path: volume.path, pid: volume.pid, close: () => volume.close() };
    }
    case "program":
      return openServed(way, under);
  }
}

async function openServed({ argv, cpu }: Extract<Way, { by: "program" }>, under: string): Promise<Stage> {
  const base = mkdtempSync(join(under, "squall-served-"));
  chmodSync(base, 0o755);
  const [plain, path] = [join(base, "plain"), join(base, "mounted")];
  mkdirSync(plain);
  mkdirSync(path);
  const [program = "", ...rest] = argv(plain, path);
  const server = spawn(program, rest, { stdio: "ignore" });
  const ended = new Promise<void>((resolve) => server.once("close", () => resolve()));
  const close = async (): Promise<void> => {
    await run(["umount", "-l", path]).catch(() => undefined); // a server that ended has unmounted
    server.kill("SIGTERM");
    const timer = setTimeout(() => server.kill("SIGKILL"), 2_000);
    await ended;
    clearTimeout(timer);
    rmSync(base, { recursive: true, force: true });
  };
  for (let round = 0; statSync(path).dev === statSync(base).dev; round += 1) {
    if (round < 100 && server.exitCode === null) await sleep(50);
    else {
      await close();
      throw new Error(`${program} did not mount within 5 s.`);
    }
  }
  if (cpu !== undefined) await pin(server.pid ?? 0, cpu);
  return { path, pid: server.pid, close };
}

const pin = (pid: number, cpu: string): Promise<string> => run(["taskset", "--all-tasks", "--cpu-list", "--pid", cpu, String(pid)]);
