import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "../lab/run.ts";
import { runToEnd } from "../test/files/support/run-to-end.ts";

/** Something that a program does on files, and how often in a second it did it. `cpu`: where the program runs; undefined: anywhere. */
export type FileWork = (folder: string, cpu: string | undefined) => Promise<number>;

export interface FileWorks {
  readonly [name: string]: FileWork;
}

const CLIENT = join(import.meta.dirname, "file-client.ts");
const SECONDS = 1;
const SQLITE_INSERTS = 300;
const REPOSITORY_FILES = 1_000;

const onCpu = (cpu: string | undefined, argv: readonly string[]): readonly string[] =>
  cpu === undefined ? argv : ["taskset", "--cpu-list", cpu, ...argv];

/** fio(1) with system calls of one thread, as most databases make them. */
function fio(rw: string, blockBytes: number, fileBytes: number): FileWork {
  return async (folder, cpu) => {
    const file = join(folder, `fio-${rw}-${blockBytes}`);
    const ended = await runToEnd(
      onCpu(cpu, [
        "fio",
        "--name=bench",
        `--filename=${file}`,
        `--rw=${rw}`,
        `--bs=${blockBytes}`,
        `--size=${fileBytes}`,
        "--ioengine=psync",
        "--fallocate=none",
        "--invalidate=0",
        "--time_based",
        `--runtime=${SECONDS}`,
        "--output-format=json",
      ]),
      { seconds: 60 },
    );
    // It says on standard output what went wrong, too.
    if (ended.exitCode !== 0) throw new Error(`fio exited with ${ended.exitCode} in ${folder}: ${ended.output.slice(0, 2_000)}`);
    const { jobs } = JSON.parse(ended.output) as {
      readonly jobs: readonly { readonly read: { iops: number }; readonly write: { iops: number } }[];
    };
    return (jobs[0]?.read.iops ?? 0) + (jobs[0]?.write.iops ?? 0);
  };
}

const client =
  (what: string): FileWork =>
  async (folder, cpu) =>
    Number(await run(onCpu(cpu, [process.execPath, CLIENT, what, folder, String(SECONDS * 1000)]), { timeoutMs: 60_000 }));

/** Each insert is a transaction of its own, in the database's default journal mode: two fsyncs and more. */
const sqlite: FileWork = async (folder, cpu) => {
  const file = join(folder, `bench-${process.hrtime.bigint()}.db`);
  const inserts = Array.from({ length: SQLITE_INSERTS }, (_, at) => `INSERT INTO t VALUES (${at}, hex(randomblob(100)));`);
  await run(["sqlite3", file, "CREATE TABLE t (id INTEGER PRIMARY KEY, value TEXT);"]);
  const startMs = performance.now();
  await run(onCpu(cpu, ["sqlite3", file]), { stdin: inserts.join("\n"), timeoutMs: 120_000 });
  const ms = performance.now() - startMs;
  rmSync(file);
  return (SQLITE_INSERTS / ms) * 1000;
};

/** Data works of one kind of file access. */
export const dataWorks: FileWorks = {
  "write 4 KiB": fio("randwrite", 4096, 64 << 20),
  "read 4 KiB": fio("randread", 4096, 64 << 20),
  "read and write 4 KiB": fio("randrw", 4096, 64 << 20),
  "write 1 MiB": fio("write", 1 << 20, 256 << 20),
  "read 1 MiB": fio("read", 1 << 20, 256 << 20),
};

export const nameWorks: FileWorks = { stat: client("stat"), "create, write, close": client("create") };

export const diskWorks: FileWorks = { "SQLite, a transaction each": sqlite };

/** Files checked out in a second. The repository is made once and is not on the volume. */
export async function openCheckout(): Promise<{ readonly works: FileWorks; close(): void }> {
  const repository = mkdtempSync(join(tmpdir(), "squall-repository-"));
  const git = ["git", "-C", repository, "-c", "user.name=Bench", "-c", "user.email=bench@example.com"];
  for (let at = 0; at < REPOSITORY_FILES; at += 1) {
    const folder = join(repository, `folder-${at % 50}`);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `file-${at}`), `${at}\n`.repeat(100 + ((at * 37) % 2_000)));
  }
  await run([...git, "init", "--quiet"]);
  await run([...git, "add", "."]);
  await run([...git, "commit", "--quiet", "--message=Files"]);
  const checkout: FileWork = async (folder, cpu) => {
    const own = join(folder, "checkout");
    await run(["git", "clone", "--quiet", "--no-checkout", repository, own]);
    const startMs = performance.now();
    await run(onCpu(cpu, ["git", "-C", own, "checkout", "--quiet", "HEAD"]), { timeoutMs: 120_000 });
    const ms = performance.now() - startMs;
    await run(["rm", "-rf", own]);
    return (REPOSITORY_FILES / ms) * 1000;
  };
  return { works: { "git checkout": checkout }, close: () => rmSync(repository, { recursive: true, force: true }) };
}
