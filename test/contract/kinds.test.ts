import assert from "node:assert/strict";
import { globSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { type KindName, kindNames, kinds } from "../../api/kinds/registry.ts";

const root = join(import.meta.dirname, "..", "..");
const pageOf = (kind: KindName): string => `docs/kinds/${kind.replaceAll(/(?<!^)([A-Z])/g, "-$1").toLowerCase()}.md`;
const read = (path: string): string => readFileSync(join(root, path), "utf8");

interface Example {
  readonly file: string;
  readonly object: { readonly kind: KindName; readonly metadata: { readonly namespace: string } };
}
const parse = (file: string, text: string): readonly Example[] =>
  parseAllDocuments(text).map((document) => ({ file, object: document.toJS() as Example["object"] }));
const examples = globSync("examples/*.yaml", { cwd: root }).flatMap((file) => parse(file, read(file)));
const onPages = kindNames.flatMap((kind) =>
  [...read(pageOf(kind)).matchAll(/```yaml\n([^`]*)```/g)].flatMap((match) => parse(pageOf(kind), match[1] ?? "")),
);

describe("every kind", () => {
  for (const kind of kindNames) {
    it(`${kind} has an example, a page, and a CRD under 200 KB`, () => {
      assert.ok(
        examples.some(({ object }) => object.kind === kind),
        `no example of ${kind} in examples/`,
      );
      assert.ok(
        onPages.some(({ object }) => object.kind === kind),
        `no example of ${kind} on ${pageOf(kind)}`,
      );
      assert.ok(statSync(join(root, `manifests/crds/${kinds[kind].plural}.yaml`)).size < 200_000);
    });
  }

  for (const { file, object } of [...examples, ...onPages]) {
    it(`is admitted and can be carried out as ${file} shows it`, () => {
      const judged = kinds[object.kind].judge(object, { namespace: object.metadata.namespace });
      assert.ok(judged.ok, JSON.stringify(judged));
      assert.deepEqual(judged.unsupported, []);
      assert.match(judged.explanation, /^[A-Z].*\.$/);
    });
  }
});
