import { globSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "../../../lab/run.ts";
import type { Database, RunningDatabase } from "./database.ts";
import { DatabaseProcess } from "./database-process.ts";
import { ensureFilePackages } from "./file-programs.ts";
import { runToEnd } from "./run-to-end.ts";

const valueOf = (key: number): string => `value ${key} `.repeat(50);

/** With every command in its append-only file, and the file on the disk, before it is acknowledged. */
export const redis: Database = {
  name: "Redis (append-only file)",
  prepare: () => ensureFilePackages(["redis-server", "redis-tools"]),
  create: () => Promise.resolve(),
  start,
  check: async (folder) => {
    const manifest = globSync(join(folder, "appendonlydir/*.manifest"))[0];
    if (manifest === undefined) return ["there is no append-only file"];
    const { exitCode, output } = await runToEnd(["redis-check-aof", manifest], { seconds: 60 });
    // A command of which a part was written when the process died was never acknowledged; Redis cuts it off at its next start.
    return exitCode === 0 || /truncated at offset|use the --fix option/i.test(output) ? [] : [output];
  },
};

async function start(folder: string): Promise<RunningDatabase> {
  const own = mkdtempSync(join(tmpdir(), "squall-redis-"));
  const socket = join(own, "socket");
  const argv = ["redis-server", "--port", "0", "--unixsocket", socket, "--dir", folder, "--save", ""];
  const server = new DatabaseProcess([...argv, "--appendonly", "yes", "--appendfsync", "always"], own);
  const ask = (...command: readonly string[]): Promise<string> => run(["redis-cli", "-e", "-s", socket, ...command], { timeoutMs: 20_000 });
  try {
    await server.untilReady(async () => {
      if (!(await ask("PING")).startsWith("PONG")) throw new Error("It does not answer PING.");
      await ask("DBSIZE");
    });
  } catch (error) {
    await server.kill();
    throw error;
  }
  return {
    get pid() {
      return server.pid;
    },
    get end() {
      return server.end;
    },
    write: async (key) => {
      const said = await ask("SET", String(key), valueOf(key));
      if (said.trim() !== "OK") throw new Error(said);
      if (key % 20 === 0) await ask("BGREWRITEAOF").catch(() => undefined);
    },
    read: async () => {
      const keys = (await ask("KEYS", "*")).split("\n").filter((line) => line !== "");
      if (keys.length === 0) return [];
      const values = (await ask("MGET", ...keys)).split("\n");
      return keys.map(Number).filter((key, at) => values[at] === valueOf(key));
    },
    kill: () => server.kill(),
  };
}
