import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parse } from "yaml";
import * as z from "zod";
import { kindNames, kinds } from "../../api/kinds/registry.ts";
import type { Kube, NewObject } from "../../kube/kube.ts";
import { resourceOf } from "../../kube/resources.ts";

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
  const limit = Date.now() + 30_000;
  for (const kind of kindNames) {
    const { group, plural, scope } = kinds[kind];
    const resource = resourceOf({ group, version: "v1alpha1", kind, plural, isNamespaced: scope === "Namespaced" }, loose);
    for (;;)
      try {
        await kube.list(resource);
        break;
      } catch (error) {
        if (Date.now() > limit) throw error;
        await sleep(50);
      }
  }
}
