import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { ensureBaseImage } from "./base-image.ts";
import { type Buildah, createBuildah } from "./buildah.ts";
import { writeBundles } from "./bundles.ts";
import { withLock } from "./lock.ts";
import type { Progress } from "./progress.ts";

const root = join(import.meta.dirname, "..");

/** Names of our images, as manifests write them. */
export interface LabImages {
  readonly squall: string;
  readonly shop: string;
}

/** The names that the present version has. */
export async function imageNames(): Promise<LabImages> {
  const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { readonly version: string };
  return { squall: `squall:${version}`, shop: `squall-shop:${version}` };
}

/** What containerd and Docker make of a short name. */
export function fullName(name: string): string {
  return name.includes("/") ? name : `docker.io/library/${name}`;
}

/** Builds both images from the working tree into buildah's storage in the cache. What did not change takes about two seconds. */
export async function buildImages(cache: string, progress: Progress): Promise<LabImages> {
  const buildah = createBuildah(cache);
  return await withLock(join(cache, "images.lock"), async () => {
    const base = await ensureBaseImage(cache, buildah, progress);
    const names = await imageNames();
    await progress.during("Building the images", async (note) => {
      note("bundles");
      await writeBundles(join(root, "dist"));
      note(names.squall);
      await build(buildah, { base, name: names.squall, containerfile: "Containerfile", context: root });
      note(names.shop);
      await build(buildah, { base, name: names.shop, containerfile: "lab/shop/Containerfile", context: join(root, "lab", "shop") });
      // Every change leaves the image before it without a name.
      await buildah(["rmi", "--prune", "--force"]);
    });
    return names;
  });
}

interface Build {
  readonly base: string;
  readonly name: string;
  readonly containerfile: string;
  readonly context: string;
}

async function build(buildah: Buildah, { base, name, containerfile, context }: Build): Promise<void> {
  const file = ["--file", join(root, containerfile)];
  const options = ["--isolation", "chroot", "--layers", "--force-rm", "--pull=never", "--quiet", "--build-arg", `BASE=${base}`];
  await buildah(["build", ...options, ...file, "--tag", fullName(name), context]);
}
