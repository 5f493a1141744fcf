import { join } from "node:path";
import { run, type RunOptions } from "./run.ts";

/** buildah with all its storage in the lab's cache, so that nothing of ours is among the images of this machine. */
export type Buildah = (parameters: readonly string[], options?: RunOptions) => Promise<string>;

export function createBuildah(cache: string): Buildah {
  const storage = ["--root", join(cache, "containers", "storage"), "--runroot", join(cache, "containers", "run")];
  return ([command = "", ...rest], options) => run(["buildah", ...storage, command, ...rest], options);
}

/** Whether an image of that full name is there. */
export async function hasImage(buildah: Buildah, name: string): Promise<boolean> {
  return (await buildah(["images", "--quiet", "--filter", `reference=${name}`])).trim() !== "";
}
