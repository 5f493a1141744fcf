import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { planCrd } from "../../api/crd.ts";
import { planFieldTable } from "../../api/field-table.ts";
import { fileNameOf, kindNames, kinds, schemaOf } from "../../api/kinds/registry.ts";
import { planRuleTables } from "../../api/rules-page.ts";
import { VERSION } from "../../common/version.ts";

const root = join(import.meta.dirname, "..", "..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");

describe("what is generated", () => {
  for (const kind of kindNames)
    it(`is what the definition of ${kind} says now: npm run generate changes nothing`, () => {
      const crd = planCrd(kinds[kind], schemaOf);
      assert.deepEqual(parse(read(`manifests/crds/${kinds[kind].plural}.yaml`)), crd);
      assert.ok(read(`docs/kinds/${fileNameOf(kind)}.md`).includes(planFieldTable(kinds[kind])));
    });

  it("tells of each rule who holds it", () =>
    assert.ok(read("docs/rules.md").includes(planRuleTables(kindNames.map((kind) => kinds[kind])))));

  it("is installed: every CRD is in the kustomization, and no file is left of a kind that is gone", () => {
    const files = kindNames.map((kind) => `crds/${kinds[kind].plural}.yaml`).toSorted();
    assert.deepEqual(globSync("crds/*", { cwd: join(root, "manifests") }).toSorted(), files);
    const { resources } = parse(read("manifests/kustomization.yaml")) as { readonly resources: readonly string[] };
    assert.deepEqual(
      resources.filter((file) => file.startsWith("crds/")),
      files,
    );
  });

  it("has one version everywhere", () => {
    assert.equal((JSON.parse(read("package.json")) as { readonly version: string }).version, VERSION);
    for (const file of ["webhook", "image-holder", "controller", "daemon"]) {
      assert.deepEqual(
        new Set([...read(`manifests/${file}.yaml`).matchAll(/squall:(\d[\w.]*)/g)].map((match) => match[1])),
        new Set([VERSION]),
        file,
      );
    }
  });
});
