import * as z from "zod";
import { type ExperimentName, experiments } from "../api/kinds/experiments.ts";
import { statusSchema } from "../api/status.ts";
import { groups } from "../common/names.ts";
import type { Resource } from "./kube.ts";
import { metaSchema, resourceOf } from "./resources.ts";

const experimentSchema = z.object({
  apiVersion: z.string().default(`${groups.chaos}/v1alpha1`),
  kind: z.string(),
  metadata: metaSchema,
  /** Not judged here: `experiments[kind].judge` takes the whole experiment as it is. */
  spec: z.unknown(),
  status: statusSchema.prefault({}),
});

/** An experiment of any kind, its spec as the user wrote it and the webhook completed it. */
export type Experiment = z.output<typeof experimentSchema>;

const resources = new Map<ExperimentName, Resource<Experiment>>();

/** How experiments of a kind are read and written. The same object for the same kind. */
export function experimentResource(kind: ExperimentName): Resource<Experiment> {
  const known = resources.get(kind);
  if (known !== undefined) return known;
  const names = { group: groups.chaos, version: "v1alpha1", plural: experiments[kind].plural, kind, isNamespaced: true };
  const made = resourceOf(
    names,
    // The API server leaves the kind out of the items of a list in places.
    z.preprocess((raw) => (typeof raw === "object" && raw !== null && !("kind" in raw) ? { ...raw, kind } : raw), experimentSchema),
  );
  resources.set(kind, made);
  return made;
}
