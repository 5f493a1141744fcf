import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureFilePackages, ensureFileProgram } from "./file-programs.ts";
import { runToEnd } from "./run-to-end.ts";
import { describeTree } from "./tree.ts";

/** What a suite found in a folder: each of its cases, and how it went. A `state` compares with that of another folder only. */
export type Findings = ReadonlyMap<string, string>;

export interface Suite {
  readonly name: string;
  prepare(): Promise<void>;
  /** The folder is empty, any user may come to it. */
  run(folder: string): Promise<Findings>;
}

const PJDFSTEST_CONFIG = `
[features]
posix_fallocate = {}
rename_ctime = {}
utimensat = {}
utime_now = {}
[settings]
naptime = 0.01
allow_remount = false
[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
`;

const FSX_CONFIG = `
flen = 262144
[weights]
close_open = 5
truncate = 20
read = 50
write = 50
mapread = 20
mapwrite = 20
invalidate = 2
fsync = 3
fdatasync = 3
posix_fallocate = 5
punch_hole = 5
sendfile = 3
posix_fadvise = 3
copy_file_range = 5
`;

const FSX_SEEDS = [1, 2, 3, 4];
const FSX_OPERATIONS = 10_000;
const FSSTRESS_SEEDS = [1, 2, 3, 4, 5, 6];

/** Those of stress-ng's stressors that work on files and check what they find. */
const STRESSORS = (
  "access chdir chmod chown copy-file dentry dir dirdeep dirmany dnotify dup fallocate fcntl fiemap file-ioctl filename flock fpunch fstat getdent " +
  "hdd inode-flags inotify io iomix lease link locka lockf lockofd metamix mknod mmapfork null open readahead rename revio seek sendfile " +
  "sync-file symlink touch unlink utime xattr"
).split(" ");

export const suites: readonly Suite[] = [
  {
    name: "pjdfstest",
    prepare: async () => void (await ensureFileProgram("pjdfstest")),
    run: (folder) =>
      withScratch(async (scratch) => {
        const config = join(scratch, "pjdfstest.toml");
        writeFileSync(config, PJDFSTEST_CONFIG);
        const said = await runToEnd([await ensureFileProgram("pjdfstest"), "-c", config, "-p", folder]);
        return new Map([...said.output.matchAll(/^(\S+::\S+)\s+(ok|FAILED|skipped)$/gm)].map(([, name = "", how = ""]) => [name, how]));
      }),
  },
  {
    name: "libfuse's test_syscalls",
    prepare: async () => void (await ensureFileProgram("test_syscalls")),
    run: async (folder) => {
      const said = await runToEnd([await ensureFileProgram("test_syscalls"), folder]);
      return new Map([...said.output.matchAll(/^\s*\d+ (\[.*\]) (OK|SKIPPED)/gm)].map(([, name = "", how = ""]) => [name, how]));
    },
  },
  fsx("fsx", FSX_CONFIG),
  // fsx ends at the first system call that there is not.
  fsx("fsx without punched holes", FSX_CONFIG.replace("punch_hole = 5\n", "")),
  {
    // It ignores errors: what tells is that one process with one seed leaves the same tree everywhere.
    name: "fsstress",
    prepare: async () => void (await ensureFileProgram("fsstress")),
    run: async (folder) => {
      const findings = new Map<string, string>();
      for (const seed of FSSTRESS_SEEDS) {
        const own = join(folder, `seed-${seed}`);
        mkdirSync(own);
        // In its own folder: symbolic links that it makes are relative to where it runs.
        const argv = ["-d", ".", "-l", "1", "-n", "1500", "-p", "1", "-s", String(seed)];
        const said = await runToEnd([await ensureFileProgram("fsstress"), ...argv], { cwd: own });
        findings.set(`seed ${seed} ends`, `exit ${said.exitCode}`);
        for (const [path, state] of describeTree(own)) findings.set(`seed ${seed} ${path}`, state);
      }
      const many = join(folder, "many");
      mkdirSync(many);
      const said = await runToEnd([await ensureFileProgram("fsstress"), "-d", ".", "-l", "2", "-n", "1000", "-p", "6", "-s", "7"], {
        cwd: many,
      });
      return findings.set("six processes end", `exit ${said.exitCode}`).set("what they left can be removed", remove(many));
    },
  },
  {
    name: "stress-ng",
    prepare: () => ensureFilePackages(["stress-ng"]),
    run: async (folder) => {
      const findings = new Map<string, string>();
      for (const stressor of STRESSORS) {
        const argv = ["stress-ng", `--${stressor}`, "2", "--verify", "--timeout", "1", "--temp-path", folder];
        findings.set(stressor, stressEnds.get((await runToEnd(argv)).exitCode) ?? "failed");
      }
      return findings;
    },
  },
];

function fsx(name: string, settings: string): Suite {
  return {
    name,
    prepare: async () => void (await ensureFileProgram("fsx")),
    run: (folder) =>
      withScratch(async (scratch) => {
        const config = join(scratch, "fsx.toml");
        writeFileSync(config, settings);
        const findings = new Map<string, string>();
        for (const seed of FSX_SEEDS) {
          const argv = ["-f", config, "-P", scratch, "-N", String(FSX_OPERATIONS), "-S", String(seed), join(folder, `file-${seed}`)];
          const said = await runToEnd([await ensureFileProgram("fsx"), ...argv]);
          findings.set(`seed ${seed}`, said.output.includes("All operations completed A-OK") ? "ok" : said.output.slice(-500));
        }
        return findings;
      }),
  };
}

/** See stress-ng(1): 3 is for lack of resources, 4 for stressors that are not implemented here. */
const stressEnds: ReadonlyMap<number, string> = new Map([
  [0, "ok"],
  [3, "skipped"],
  [4, "skipped"],
]);

function remove(folder: string): string {
  rmSync(folder, { recursive: true });
  return "ok";
}

async function withScratch<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "squall-suite-"));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
