import { createHash } from "node:crypto";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { run } from "../run.ts";
import { node } from "./layout.ts";

/** What a pod's first container runs, from this machine's own packages: tini reaps, sleep sleeps. */
const ENTRYPOINT = ["/usr/bin/tini-static", "--", "/usr/bin/sleep", "infinity"];

/** Writes an image archive as `docker save` does, see https://github.com/moby/docker-image-spec, and returns its path. */
export async function writePauseImage(folder: string): Promise<string> {
  const root = join(folder, "root");
  const files = ["/usr/bin/tini-static", "/usr/bin/sleep", ...librariesOf(await run(["ldd", "/usr/bin/sleep"]))];
  for (const file of files) {
    await mkdir(join(root, dirname(file)), { recursive: true });
    await copyFile(file, join(root, file));
  }
  const layer = join(folder, "layer.tar");
  await run(["tar", "-C", root, "-cf", layer, "."]);
  const digest = createHash("sha256")
    .update(await readFile(layer))
    .digest("hex");
  const config = {
    architecture: process.arch === "arm64" ? "arm64" : "amd64",
    os: "linux",
    config: { Entrypoint: ENTRYPOINT },
    rootfs: { type: "layers", diff_ids: [`sha256:${digest}`] },
  };
  await writeFile(join(folder, "config.json"), JSON.stringify(config));
  await writeFile(
    join(folder, "manifest.json"),
    JSON.stringify([{ Config: "config.json", RepoTags: [node.pauseImage], Layers: ["layer.tar"] }]),
  );
  const archive = join(folder, "pause.tar");
  await run(["tar", "-C", folder, "-cf", archive, "config.json", "manifest.json", "layer.tar"]);
  return archive;
}

/** The files in ldd(1)'s answer. */
export function librariesOf(lddOutput: string): readonly string[] {
  return lddOutput.split("\n").flatMap((line) => /(?:=>\s+)?(\/\S+) \(0x/.exec(line)?.[1] ?? []);
}
