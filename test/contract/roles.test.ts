import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { experimentNames, experiments } from "../../api/kinds/experiments.ts";
import { kindNames, kinds } from "../../api/kinds/registry.ts";

interface Role {
  readonly metadata: { readonly name: string };
  readonly rules: readonly {
    readonly apiGroups: readonly string[];
    readonly resources: readonly string[];
    readonly verbs: readonly string[];
  }[];
}

const READ = ["get", "list", "watch"];
const WRITE = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/** A PhysicalMachine can have any address. */
const ofOperators = ["PhysicalMachine"] as const;

describe("manifests/roles.yaml", () => {
  const text = readFileSync(join(import.meta.dirname, "..", "..", "manifests/roles.yaml"), "utf8");
  const roles = parseAllDocuments(text).map((document) => document.toJS() as Role);
  const verbs = (role: string, group: string, resource: string): readonly string[] =>
    (roles.find(({ metadata }) => metadata.name === role)?.rules ?? assert.fail(role))
      .filter(({ apiGroups, resources }) => apiGroups.includes(group) && resources.includes(resource))
      .flatMap((rule) => rule.verbs)
      .toSorted();

  for (const name of kindNames) {
    const { group, plural, madeBy, scope } = kinds[name];
    it(`lets viewers see ${name}, and operators write it unless Squall alone does`, () => {
      assert.deepEqual(verbs("squall-viewer", group, plural), READ);
      const operator = verbs("squall-operator", group, plural).filter((verb) => verb !== "use");
      assert.deepEqual(operator, madeBy === "controller" ? READ : WRITE);
    });

    it(`lets experimenters write ${name} if it is of a namespace and of theirs, and see it otherwise`, () => {
      const found = verbs("squall-experimenter", group, plural);
      const isTheirs = madeBy === "anyone" && !(ofOperators as readonly string[]).includes(name);
      assert.deepEqual(found, scope === "Cluster" ? [] : isTheirs ? WRITE : READ);
    });
  }

  it("lets experimenters write every kind of experiment", () => {
    for (const name of experimentNames)
      assert.deepEqual(verbs("squall-experimenter", "chaos-mesh.org", experiments[name].plural), WRITE, name);
  });

  it("lets nobody write a status, for what stands there is believed", () =>
    assert.deepEqual(
      roles.flatMap(({ rules }) => rules.flatMap(({ resources }) => resources)).filter((resource) => /[/*]/.test(resource)),
      [],
    ));
});
