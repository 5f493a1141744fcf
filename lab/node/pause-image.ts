import { copyFile, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { writeImageArchive } from "../image-archive.ts";
import { run } from "../run.ts";
import { lab } from "./layout.ts";

/** Makes the image of a pod's first container from this machine's own packages: tini reaps, sleep sleeps. Returns the path of its archive. */
export async function writePauseImage(folder: string): Promise<string> {
  const root = join(folder, "root");
  const files = ["/usr/bin/tini-static", "/usr/bin/sleep", ...librariesOf(await run(["ldd", "/usr/bin/sleep"]))];
  for (const file of files) {
    await mkdir(join(root, dirname(file)), { recursive: true });
    await copyFile(file, join(root, file));
  }
  await run(["tar", "-C", root, "-cf", join(folder, "layer.tar"), "."]);
  return await writeImageArchive(folder, {
    name: lab.pauseImage,
    layers: ["layer.tar"],
    config: { Entrypoint: ["/usr/bin/tini-static", "--", "/usr/bin/sleep", "infinity"] },
  });
}

/** The files in ldd(1)'s answer. */
export function librariesOf(lddOutput: string): readonly string[] {
  return lddOutput.split("\n").flatMap((line) => /(?:=>\s+)?(\/\S+) \(0x/.exec(line)?.[1] ?? []);
}
