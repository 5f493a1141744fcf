import { ensureBinaries } from "../../lab/binaries.ts";
import { placesOf } from "../../lab/places.ts";
import { apiServerPrograms } from "../../lab/programs.ts";
import { createProgress } from "../../lab/progress.ts";

/** Makes the API server's programs before the first test: on a fresh machine that takes minutes, longer than any test may. */
export async function mochaGlobalSetup(): Promise<void> {
  const sources = { cache: placesOf(process.env).cache, kubebuilderAssets: process.env["KUBEBUILDER_ASSETS"] };
  await ensureBinaries(apiServerPrograms, sources, createProgress(process.stderr));
}
