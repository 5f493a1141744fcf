import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { planCrd } from "../../api/crd.ts";
import { planFieldTable } from "../../api/field-table.ts";
import { kinds } from "../../api/kinds/registry.ts";
import { VERSION } from "../../common/version.ts";

const read = (path: string): string => readFileSync(join(import.meta.dirname, "..", "..", path), "utf8");

describe("what is generated", () => {
  it("is what the definitions say now: npm run generate changes nothing", () => {
    const network = planCrd<(typeof kinds.NetworkChaos)["schema"]>(kinds.NetworkChaos);
    const pod = planCrd<(typeof kinds.PodChaos)["schema"]>(kinds.PodChaos);
    assert.deepEqual(parse(read("manifests/crds/networkchaos.yaml")), network);
    assert.deepEqual(parse(read("manifests/crds/podchaos.yaml")), pod);
    assert.ok(read("docs/kinds/network-chaos.md").includes(planFieldTable(network)));
    assert.ok(read("docs/kinds/pod-chaos.md").includes(planFieldTable(pod)));
  });

  it("has one version everywhere", () => {
    assert.equal((JSON.parse(read("package.json")) as { readonly version: string }).version, VERSION);
    for (const file of ["webhook", "image-holder", "controller"]) {
      assert.deepEqual(
        new Set([...read(`manifests/${file}.yaml`).matchAll(/squall:(\d[\w.]*)/g)].map((match) => match[1])),
        new Set([VERSION]),
        file,
      );
    }
  });
});
