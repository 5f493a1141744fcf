import * as z from "zod";
import { kinds } from "../api/kinds/registry.ts";
import { haltStatus } from "../api/kinds/halt.ts";
import type { Resource } from "./kube.ts";
import { metaSchema, resourceOf } from "./resources.ts";

/** The objects that limit experiments. */

/** Its spec is not judged here: `readPolicy` does that, and knows what to do with one that breaks its schema. */
const policySchema = z.object({ metadata: metaSchema, spec: z.unknown() });
export type ChaosPolicy = z.output<typeof policySchema>;

const haltSchema = z.object({
  metadata: metaSchema,
  // It halts by being there, whatever cannot be read in it.
  spec: z.object({ reason: z.string().optional() }).prefault({}).catch({}),
  status: haltStatus.prefault({}).catch({}),
});
/** Of either kind; a ClusterHalt has no namespace. */
export type Halt = z.output<typeof haltSchema>;

function namesOf({ group, plural, kind, scope }: (typeof kinds)["ChaosPolicy" | "ClusterHalt" | "Halt"]) {
  return { group, version: "v1alpha1", plural, kind, isNamespaced: scope === "Namespaced" };
}

export const chaosPolicies: Resource<ChaosPolicy> = resourceOf(namesOf(kinds.ChaosPolicy), policySchema);
export const halts: Resource<Halt> = resourceOf(namesOf(kinds.Halt), haltSchema);
export const clusterHalts: Resource<Halt> = resourceOf(namesOf(kinds.ClusterHalt), haltSchema);
