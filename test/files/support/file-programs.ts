import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ensurePackages } from "../../../lab/packages.ts";
import { placesOf } from "../../../lab/places.ts";
import { createProgress } from "../../../lab/progress.ts";
import { findProgram, run } from "../../../lab/run.ts";
import { fetchDebianSource } from "./debian-source.ts";

const progress = createProgress(process.stderr);

/** How a program that Debian has no binary of is made. `folder` is empty; the program is to be there under its own name. */
interface FileProgram {
  readonly needs: readonly string[];
  readonly build: (folder: string) => Promise<void>;
}

/** The programs that try file systems, or serve one, with the versions they were tried with. */
const filePrograms = {
  /** The File System eXerciser: random reads, writes, mappings and truncations of one file against what it must hold. */
  fsx: { needs: [], build: (folder) => installCrate("fsx@0.3.2", folder) },
  /** pjdfstest, the POSIX suite of FreeBSD's and ZFS' makers, as rewritten by its own project. */
  pjdfstest: { needs: [], build: (folder) => installCrate("pjdfstest@0.2.2", folder) },
  /** SGI's, of xfstests and the Linux Test Project: a random walk of system calls on a tree by several processes. */
  fsstress: {
    needs: ["gcc", "libc6-dev"],
    build: async (folder) => {
      await fetchDebianSource("e2fsprogs", ["contrib/fsstress.c"], folder);
      await run(["gcc", "-O2", "-w", "-o", join(folder, "fsstress"), join(folder, "contrib/fsstress.c")]);
    },
  },
  /** libfuse's own test of what system calls do on a file system of its users. */
  test_syscalls: {
    needs: ["gcc", "libc6-dev"],
    build: async (folder) => {
      await fetchDebianSource("fuse3", ["test/test_syscalls.c"], folder);
      writeFileSync(join(folder, "test/fuse_config.h"), "");
      await run(["gcc", "-O2", "-w", "-o", join(folder, "test_syscalls"), join(folder, "test/test_syscalls.c")]);
    },
  },
  /** libfuse's example of a fast file system, in C. */
  passthrough_ll: {
    needs: ["gcc", "libc6-dev", "libfuse3-dev"],
    build: async (folder) => {
      await fetchDebianSource("fuse3", ["example/passthrough_ll.c", "example/passthrough_helpers.h"], folder);
      writeFileSync(join(folder, "example/fuse_config.h"), "#define HAVE_COPY_FILE_RANGE 1\n#define HAVE_POSIX_FALLOCATE 1\n");
      const argv = ["gcc", "-O2", "-w", "-D_GNU_SOURCE", "-I/usr/include/fuse3", `-I${folder}/example`];
      await run([...argv, "-o", join(folder, "passthrough_ll"), join(folder, "example/passthrough_ll.c"), "-lfuse3", "-lpthread"]);
    },
  },
} as const satisfies Readonly<Record<string, FileProgram>>;

export type FileProgramName = keyof typeof filePrograms;

/** Installs Debian packages that are missing, after saying so. */
export async function ensureFilePackages(names: readonly string[]): Promise<void> {
  await ensurePackages(names, { isRoot: process.getuid?.() === 0, progress });
}

/** Path of a program, made first where this machine has not made it yet. */
export async function ensureFileProgram(name: FileProgramName): Promise<string> {
  const cache = join(placesOf(process.env).cache, "files");
  const path = join(cache, name);
  if (existsSync(path)) return path;
  const { needs, build }: FileProgram = filePrograms[name];
  await ensureFilePackages(needs);
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, ".build-"));
  try {
    await progress.during(`Building ${name} from source, once`, () => build(folder));
    renameSync(join(folder, name), path);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return path;
}

async function installCrate(crate: string, folder: string): Promise<void> {
  const cargo = await findProgram("cargo", [`${process.env["HOME"] ?? "/root"}/.cargo/bin`]);
  if (cargo === undefined) throw new Error(`${crate} is written in Rust and this machine has no cargo. Install it (https://rustup.rs).`);
  await run([cargo, "install", "--locked", "--root", folder, crate]);
  const [name = ""] = crate.split("@");
  renameSync(join(folder, "bin", name), join(folder, name));
}
