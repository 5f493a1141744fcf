import { copyFile, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { writeImageArchive } from "../image-archive.ts";
import { run } from "../run.ts";
import { lab } from "./layout.ts";

/** This machine's programs, as they are in the image. On other nodes, too, processes that hold a pod's namespaces are called pause. */
const files = { "/usr/bin/tini-static": "/pause", "/usr/bin/sleep": "/usr/bin/pause" } as const;

/** Makes the image of a pod's first container from this machine's own packages: tini reaps, sleep sleeps. Returns the path of its archive. */
export async function writePauseImage(folder: string): Promise<string> {
  const root = join(folder, "root");
  const libraries = librariesOf(await run(["ldd", "/usr/bin/sleep"])).map((path) => [path, path] as const);
  for (const [from, to] of [...Object.entries(files), ...libraries]) {
    await mkdir(join(root, dirname(to)), { recursive: true });
    await copyFile(from, join(root, to));
  }
  await run(["tar", "-C", root, "-cf", join(folder, "layer.tar"), "."]);
  return await writeImageArchive(folder, {
    name: lab.pauseImage,
    layers: ["layer.tar"],
    config: { Entrypoint: ["/pause", "--", "/usr/bin/pause", "infinity"] },
  });
}

/** The files in ldd(1)'s answer. */
export function librariesOf(lddOutput: string): readonly string[] {
  return lddOutput.split("\n").flatMap((line) => /(?:=>\s+)?(\/\S+) \(0x/.exec(line)?.[1] ?? []);
}
