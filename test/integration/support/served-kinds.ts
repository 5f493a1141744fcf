import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import * as z from "zod";
import type { Kube, NewObject, Resource } from "../../../kube/kube.ts";
import { resourceOf } from "../../../kube/resources.ts";
import { untilServed } from "../../support/crds.ts";

const loose = z.looseObject({ metadata: z.looseObject({ name: z.string() }) });
export type Loose = z.output<typeof loose>;

/** Any resource, with all that the API server says of it. */
export const anyResource = (group: string, version: string, kind: string, plural: string, isNamespaced: boolean): Resource<Loose> =>
  resourceOf({ group, version, kind, plural, isNamespaced }, loose);

export const crds = anyResource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", false);

export const chaosResource = (kind: string, plural: string): Resource<Loose> =>
  anyResource("chaos-mesh.org", "v1alpha1", kind, plural, true);

/**
 * Has the API server serve kinds of chaos-mesh.org, given as plurals by kind: by their manifest where there is one, otherwise with no schema.
 * Resolves once all are served.
 */
export async function serveKinds(kube: Kube, plurals: Readonly<Record<string, string>>): Promise<void> {
  for (const [kind, plural] of Object.entries(plurals)) {
    const manifest = join(import.meta.dirname, "../../../manifests/crds", `${plural}.yaml`);
    await kube.create(crds, existsSync(manifest) ? (parse(readFileSync(manifest, "utf8")) as NewObject) : withoutSchema(kind, plural));
  }
  for (const [kind, plural] of Object.entries(plurals)) await untilServed(kube, chaosResource(kind, plural));
}

function withoutSchema(kind: string, plural: string): NewObject {
  const openAPIV3Schema = { type: "object", "x-kubernetes-preserve-unknown-fields": true };
  const version = { name: "v1alpha1", served: true, storage: true, schema: { openAPIV3Schema } };
  return {
    metadata: { name: `${plural}.chaos-mesh.org` },
    spec: {
      group: "chaos-mesh.org",
      scope: "Namespaced",
      names: { kind, plural, singular: kind.toLowerCase() },
      versions: [version],
    },
  };
}
