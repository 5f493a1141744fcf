import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { run } from "./run.ts";

export interface ImageDescription {
  /** Full name and tag. */
  readonly name: string;
  /** Uncompressed tar files in `folder`, lowest first. */
  readonly layers: readonly string[];
  /** As in an image's configuration: `Entrypoint`, `Env`, … */
  readonly config: Readonly<Record<string, unknown>>;
}

/** Makes an image of finished layers, as `docker save` writes it, and returns the path of the archive. See https://github.com/moby/docker-image-spec. */
export async function writeImageArchive(folder: string, { name, layers, config }: ImageDescription): Promise<string> {
  const digests = await Promise.all(layers.map((layer) => digestOf(join(folder, layer))));
  const description = {
    architecture: ociArchitecture(),
    os: "linux",
    config,
    // buildah wants one entry for each layer.
    history: layers.map((layer) => ({ created_by: `squall lab: ${layer}` })),
    rootfs: { type: "layers", diff_ids: digests.map((digest) => `sha256:${digest}`) },
  };
  await writeFile(join(folder, "config.json"), JSON.stringify(description));
  await writeFile(join(folder, "manifest.json"), JSON.stringify([{ Config: "config.json", RepoTags: [name], Layers: layers }]));
  const archive = join(folder, "image.tar");
  await run(["tar", "-C", folder, "-cf", archive, "config.json", "manifest.json", ...layers.map((layer) => basename(layer))]);
  return archive;
}

/** This machine's processor, as images call it. */
export function ociArchitecture(): "amd64" | "arm64" {
  return process.arch === "arm64" ? "arm64" : "amd64";
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return hash.digest("hex");
}
