import assert from "node:assert/strict";
import { isJsonObject, type JsonObject } from "../../../api/json.ts";
import { kindNames, kinds, schemaOf } from "../../../api/kinds/registry.ts";
import { planCrd } from "../../../api/crd.ts";
import { manifests, manifestsOf } from "../../support/manifests.ts";

describe("the manifests of test/data", () => {
  for (const { title, verdict, mistakes, kind, object } of manifests) {
    it(`${verdict}: ${kind}, ${title}`, () => {
      const judged = kinds[kind].judge(object, { namespace: object.metadata.namespace ?? "" });
      assert.deepEqual(judged.ok ? [] : judged.errors.map(({ path, message }) => `${path}: ${message}`).toSorted(), mistakes);
      assert.equal(judged.ok, verdict === "accept");
    });
  }

  for (const kind of kindNames) {
    it(`show what a ${kind} may be and what it may not`, () => {
      const verdicts = manifestsOf(kind).map(({ verdict }) => verdict);
      assert.deepEqual(new Set(verdicts), new Set(["accept", "reject"]));
    });
  }

  for (const kind of kindNames.filter((name) => hasSelector(specSchemaOf(name)))) {
    it(`show every field of a ${kind}`, () => {
      const shown = new Set(manifestsOf(kind).flatMap(({ verdict, object }) => (verdict === "accept" ? pathsOf(object["spec"]) : [])));
      assert.deepEqual(
        fieldsOf(specSchemaOf(kind)).filter((field) => !shown.has(field)),
        [],
      );
    });
  }
});

function specSchemaOf(kind: (typeof kindNames)[number]): JsonObject {
  let node: unknown = planCrd(kinds[kind], schemaOf);
  for (const part of ["spec", "versions", 0, "schema", "openAPIV3Schema", "properties", "spec"])
    node = (node as Readonly<Record<string | number, unknown>>)[part];
  assert.ok(isJsonObject(node));
  return node;
}

function hasSelector({ properties }: JsonObject): boolean {
  return isJsonObject(properties) && "selector" in properties && "mode" in properties;
}

/** `selector.expressionSelectors[].key`, of everything that the schema has by name. */
function fieldsOf(schema: unknown, path = ""): readonly string[] {
  if (!isJsonObject(schema)) return [];
  const { properties, items } = schema;
  if (items !== undefined) return fieldsOf(items, `${path}[]`);
  if (!isJsonObject(properties)) return [];
  return Object.entries(properties).flatMap(([name, member]) => [`${path}.${name}`, ...fieldsOf(member, `${path}.${name}`)]);
}

function pathsOf(value: unknown, path = ""): readonly string[] {
  if (Array.isArray(value)) return value.flatMap((item) => pathsOf(item, `${path}[]`));
  if (!isJsonObject(value)) return [];
  return Object.entries(value).flatMap(([name, member]) => [`${path}.${name}`, ...pathsOf(member, `${path}.${name}`)]);
}
