import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Programs that tests build from sources in this folder, in a folder that `close` removes. */
export interface NativePrograms {
  readonly folder: string;
  /** Path of the built program; undefined where this machine lacks the compiler, and `missing` says so. */
  build(name: string, source: string, compiler: readonly string[]): string | undefined;
  close(): void;
}

export function openNativePrograms(): NativePrograms {
  const folder = mkdtempSync(join(tmpdir(), "squall-programs-"));
  return {
    folder,
    build(name, source, [program = "", ...flags]) {
      if (!isInstalled(program)) return undefined;
      const path = join(folder, name);
      const built = spawnSync(program, [...flags, "-o", path, join(import.meta.dirname, source), "-lpthread"], { encoding: "utf8" });
      if (built.status !== 0) throw new Error(`${program} ${source}: ${built.stderr}`);
      return path;
    },
    close: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** Whether a program is on the PATH. */
export const isInstalled = (program: string): boolean => spawnSync("which", [program]).status === 0;

/** Writes a file, such as the source of a program, and tells its path. */
export function writeSource(folder: string, name: string, content: string | Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}
