import { copyFile, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import * as z from "zod";
import { type Buildah, createBuildah } from "./buildah.ts";
import type { RunningCluster } from "./cluster.ts";
import { fullName } from "./images.ts";
import { withLock } from "./lock.ts";
import { hasCode } from "./process-table.ts";
import { run } from "./run.ts";
import { ctr, runOnNode } from "./run-on-node.ts";
import { withWorkshop } from "./workshop.ts";

const descriptor = z.looseObject({
  digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  annotations: z.record(z.string(), z.string()).optional(),
});
const index = z.looseObject({ manifests: z.array(descriptor) });
const manifest = z.looseObject({ config: descriptor, layers: z.array(descriptor) });

/** The annotation by which an image layout names its images; see https://github.com/opencontainers/image-spec/blob/main/annotations.md. */
const NAME = "org.opencontainers.image.ref.name";

/**
 * Loads images from buildah's storage in the cache into every node of the cluster. Layers that a node has already are not sent again, so a
 * change of code is there in about two seconds.
 */
export async function loadBuiltImages(cache: string, names: readonly string[], cluster: RunningCluster): Promise<void> {
  await withLock(join(cache, "images.lock"), () =>
    withWorkshop(cache, "loading", async (folder) => {
      const layout = join(cache, "containers", "layout");
      for (const name of names.map(fullName)) await pushToLayout(createBuildah(cache), name, layout);
      await Promise.all(
        cluster.nodes.map(async (node) => {
          const known = new Set((await runOnNode(node, ctr(["content", "list", "--quiet"]))).split("\n"));
          const archive = await packMissing(layout, names.map(fullName), known, join(folder, node.name));
          await runOnNode(node, ctr(["images", "import", archive]));
        }),
      );
      await removeUnused(layout);
    }),
  );
}

/** Copies an image out of buildah's storage, unless it is there already: packing the base takes two seconds each time. */
async function pushToLayout(buildah: Buildah, name: string, layout: string): Promise<void> {
  const id = (await buildah(["images", "--no-trunc", "--quiet", "--filter", `reference=${name}`])).trim();
  const there = (await readIndex(layout)).manifests.find(({ annotations }) => annotations?.[NAME] === name);
  // An image's id is the digest of its configuration.
  if (there !== undefined && (await readManifest(layout, there.digest)).config.digest === id) return;
  await buildah(["push", "--quiet", name, `oci:${layout}:${name}`]);
}

/** Loads an archive that `docker save`, `buildah push … docker-archive:` or `oci-archive:` wrote, into every node. Returns what one said. */
export async function importArchive(file: string, { nodes }: RunningCluster): Promise<string> {
  const said = await Promise.all(nodes.map((node) => runOnNode(node, ctr(["images", "import", resolve(file)]))));
  return said[0] ?? "";
}

/** An archive of the images with everything that a node does not have yet. */
async function packMissing(layout: string, names: readonly string[], known: ReadonlySet<string>, folder: string): Promise<string> {
  const manifests = (await readIndex(layout)).manifests.filter(({ annotations }) => names.includes(annotations?.[NAME] ?? ""));
  await mkdir(join(folder, "blobs", "sha256"), { recursive: true });
  await copyFile(join(layout, "oci-layout"), join(folder, "oci-layout"));
  await writeFile(join(folder, "index.json"), JSON.stringify({ schemaVersion: 2, manifests }));
  const blobs = new Set<string>();
  for (const { digest } of manifests) {
    const { config, layers } = await readManifest(layout, digest);
    // Manifests and configurations are small and always sent: importing begins with them.
    for (const blob of [digest, config.digest, ...layers.map((layer) => layer.digest).filter((layer) => !known.has(layer))])
      blobs.add(blobFile(blob));
  }
  const archive = join(folder, "images.tar");
  await run(["tar", "-cf", archive, "-C", folder, "oci-layout", "index.json", "-C", layout, ...blobs]);
  return archive;
}

/** Removes what no image of the layout needs any more. An image that was replaced is still in the index, without its name. */
async function removeUnused(layout: string): Promise<void> {
  const manifests = (await readIndex(layout)).manifests.filter(({ annotations }) => annotations?.[NAME] !== undefined);
  await writeFile(join(layout, "index.json"), JSON.stringify({ schemaVersion: 2, manifests }));
  const used = new Set<string>();
  for (const { digest } of manifests) {
    const { config, layers } = await readManifest(layout, digest);
    for (const blob of [digest, config.digest, ...layers.map((layer) => layer.digest)]) used.add(blobFile(blob));
  }
  for (const name of await readdir(join(layout, "blobs", "sha256"))) {
    if (!used.has(blobFile(`sha256:${name}`))) await rm(join(layout, blobFile(`sha256:${name}`)));
  }
}

async function readIndex(layout: string): Promise<z.output<typeof index>> {
  const text = await readFile(join(layout, "index.json"), "utf8").catch((error: unknown) => {
    if (hasCode(error, "ENOENT")) return '{"manifests":[]}';
    throw error;
  });
  return index.parse(JSON.parse(text));
}

async function readManifest(layout: string, digest: string): Promise<z.output<typeof manifest>> {
  return manifest.parse(JSON.parse(await readFile(join(layout, blobFile(digest)), "utf8")));
}

function blobFile(digest: string): string {
  return join("blobs", ...digest.split(":"));
}
