import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { run } from "../../../lab/run.ts";
import { ensureFilePackages } from "./file-programs.ts";
import type { Database, RunningDatabase } from "./database.ts";

const SESSION = join(import.meta.dirname, "sqlite-session.ts");

export const sqlite = (journalMode: "delete" | "wal"): Database => ({
  name: `SQLite (${journalMode})`,
  // Not test.db-shm, its index of the log: it is mapped and written to, so that an error is a SIGBUS, or a page that is lost in silence.
  faultedPath: "/data/test.d*[!m]",
  prepare: () => ensureFilePackages(["sqlite3"]),
  create: () => Promise.resolve(),
  start: (folder) => start(folder, journalMode),
  check: async (folder) => {
    const said = await run(["sqlite3", join(folder, "test.db"), "PRAGMA integrity_check"], { timeoutMs: 60_000 });
    return said.trim() === "ok" ? [] : said.trim().split("\n");
  },
});

async function start(folder: string, journalMode: string): Promise<RunningDatabase> {
  const argv = ["--no-warnings", SESSION, join(folder, "test.db"), journalMode];
  const child = spawn(process.execPath, argv, { stdio: ["pipe", "pipe", "inherit"] });
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  child.stdin.on("error", () => undefined); // it ended; the next line that is read says so
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  let isKilled = false;
  const ask = async (line: string): Promise<unknown> => {
    child.stdin.write(`${line}\n`);
    const { value, done } = await lines.next();
    if (done) throw new Error("The process that uses SQLite ended.");
    const answer = JSON.parse(value) as { readonly ok?: unknown; readonly failed?: string };
    if (answer.failed !== undefined) throw new Error(answer.failed);
    return answer.ok;
  };
  const first = await lines.next();
  if (first.done) throw new Error("The process that uses SQLite did not start.");
  return {
    pid: child.pid ?? 0,
    get end() {
      if (isKilled || (child.exitCode === null && child.signalCode === null)) return undefined;
      return child.signalCode ?? `exit code ${child.exitCode}`;
    },
    write: async (key) => void (await ask(`write ${key}`)),
    read: async () => (await ask("read")) as readonly number[],
    kill: async () => {
      isKilled = true;
      child.kill("SIGKILL");
      await ended;
    },
  };
}
