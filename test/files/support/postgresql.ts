import { globSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CommandError, run } from "../../../lab/run.ts";
import type { Database, RunningDatabase } from "./database.ts";
import { DatabaseProcess } from "./database-process.ts";
import { ensureFilePackages } from "./file-programs.ts";

/** It refuses to run as root. */
const AS_USER = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"];
const SETTINGS = ["listen_addresses=", "shared_buffers=1MB", "checkpoint_timeout=30s", "full_page_writes=on", "bgwriter_delay=20ms"];
const VALUE = "repeat('value ' || key, 50)";

function program(name: string): string {
  const path = globSync(`/usr/lib/postgresql/*/bin/${name}`).toSorted().at(-1);
  if (path === undefined) throw new Error(`There is no ${name} below /usr/lib/postgresql. Install Debian's package postgresql.`);
  return path;
}

const dataOf = (folder: string): string => join(folder, "data");

export const postgresql: Database = {
  name: "PostgreSQL",
  // Tables and indexes.
  mistakenPath: "/data/data/base/*/[0-9]*",
  prepare: async () => {
    if (globSync("/usr/lib/postgresql/*/bin/postgres").length === 0) await ensureFilePackages(["postgresql"]);
  },
  create: async (folder) => {
    await run(["chown", "postgres:postgres", folder]);
    const argv = [program("initdb"), "--pgdata", dataOf(folder), "--data-checksums", "--auth=trust", "--username=postgres"];
    await run([...AS_USER, ...argv], { timeoutMs: 120_000, cwd: "/" });
  },
  start,
  check: async (folder) => {
    // Of a database that was killed: it recovers first, and is shut down as it wants to be.
    const running = await start(folder);
    try {
      const argv = ["--host", running.sockets, "--username=postgres", "--install-missing", "--heapallindexed", "--all"];
      await run([program("pg_amcheck"), ...argv], { timeoutMs: 60_000, cwd: "/" });
      await run([...AS_USER, program("pg_ctl"), "--pgdata", dataOf(folder), "--mode=fast", "--wait", "stop"], {
        timeoutMs: 60_000,
        cwd: "/",
      });
      await run([...AS_USER, program("pg_checksums"), "--check", "--pgdata", dataOf(folder)], { timeoutMs: 60_000, cwd: "/" });
      return [];
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      return [error.message];
    } finally {
      await running.kill();
    }
  },
};

async function start(folder: string): Promise<RunningDatabase & { readonly sockets: string }> {
  const sockets = mkdtempSync(join(tmpdir(), "squall-postgresql-"));
  await run(["chown", "postgres:postgres", sockets]);
  const settings = [...SETTINGS, `unix_socket_directories=${sockets}`].flatMap((setting) => ["-c", setting]);
  const server = new DatabaseProcess([...AS_USER, program("postgres"), "-D", dataOf(folder), ...settings], sockets);
  const ask = (sql: string): Promise<string> =>
    run([program("psql"), "--host", sockets, "--username=postgres", "--no-psqlrc", "--tuples-only", "--no-align", "--command", sql], {
      timeoutMs: 20_000,
      cwd: "/",
    });
  try {
    await server.untilReady(() => ask("CREATE TABLE IF NOT EXISTS t (key int PRIMARY KEY, value text)"));
  } catch (error) {
    await server.kill();
    throw error;
  }
  return {
    sockets,
    get pid() {
      return server.pid;
    },
    get end() {
      return server.end;
    },
    write: async (key) => {
      await ask(`INSERT INTO t SELECT key, ${VALUE} FROM (VALUES (${key})) AS new (key) ON CONFLICT DO NOTHING`);
      // Data files are written by checkpoints alone.
      if (key % 10 === 0) await ask("CHECKPOINT").catch(() => undefined);
    },
    read: async () => {
      const said = await ask(`SELECT key FROM t WHERE value = ${VALUE}`);
      return said
        .split("\n")
        .filter((line) => line !== "")
        .map(Number);
    },
    kill: () => server.kill(),
  };
}
