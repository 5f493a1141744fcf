import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import * as z from "zod";
import { kindNames, kinds } from "../../api/kinds/registry.ts";
import type { Kube, NewObject, Resource } from "../../kube/kube.ts";
import { resourceOf } from "../../kube/resources.ts";
import { waitUntil } from "../../lab/wait-until.ts";

const loose = z.looseObject({ metadata: z.looseObject({ name: z.string() }) });
const crds = resourceOf(
  {
    group: "apiextensions.k8s.io",
    version: "v1",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    isNamespaced: false,
  },
  loose,
);

/** Has the API server serve all of our kinds, as `manifests/crds` has them: a controller waits for every one. */
export async function installCrds(kube: Kube): Promise<void> {
  for (const kind of kindNames) {
    const manifest = join(import.meta.dirname, "../../manifests/crds", `${kinds[kind].plural}.yaml`);
    await kube.create(crds, parse(readFileSync(manifest, "utf8")) as NewObject);
  }
  for (const kind of kindNames) {
    const { group, plural, scope } = kinds[kind];
    const resource = resourceOf({ group, version: "v1alpha1", kind, plural, isNamespaced: scope === "Namespaced" }, loose);
    await untilServed(kube, resource);
  }
}

/** Kinds take the API server a moment. */
export async function untilServed<T>(kube: Kube, resource: Resource<T>): Promise<void> {
  await waitUntil(`${resource.plural} are served`, () => kube.list(resource).then(() => true), { timeoutMs: 30_000, mayFail: true });
}
