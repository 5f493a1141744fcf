import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Document, isMap, isScalar, visit } from "yaml";
import { planCrd } from "./crd.ts";
import { planFieldTable } from "./field-table.ts";
import type { JsonObject } from "./json.ts";
import { embeddedKeys } from "./kinds/embedded-experiments.ts";
import { fileNameOf, kindNames, kinds, schemaOf } from "./kinds/registry.ts";
import { planRuleTables } from "./rules-page.ts";

/** `npm run generate`: writes manifests/crds and their list in the kustomization, the field tables of docs/kinds and docs/rules.md, from the definitions. */
const root = fileURLToPath(new URL("../", import.meta.url));

mkdirSync(`${root}manifests/crds`, { recursive: true });
for (const name of kindNames) {
  const crd = planCrd(kinds[name], schemaOf);
  writeFileSync(
    `${root}manifests/crds/${kinds[name].plural}.yaml`,
    `# Generated from api/ by "npm run generate"; do not edit.\n${renderCrd(crd)}`,
  );
  writeSection(`docs/kinds/${fileNameOf(name)}.md`, "fields", planFieldTable(kinds[name]));
}
writeSection("docs/rules.md", "rules", planRuleTables(kindNames.map((name) => kinds[name])));

const kustomization = `${root}manifests/kustomization.yaml`;
const files = kindNames.map((name) => `  - crds/${kinds[name].plural}.yaml\n`).toSorted();
writeFileSync(kustomization, readFileSync(kustomization, "utf8").replace(/( {2}- crds\/.*\n)+/, files.join("")));

/** An embedded schema takes one long line: its own CRD shows it better, and indented it would make the file three times as large. */
function renderCrd(crd: JsonObject): string {
  const document = new Document(crd, { aliasDuplicateObjects: false });
  const embedded = new Set(["schedule", "statusCheck", "workflow", ...embeddedKeys.map(({ key }) => key)]);
  let hasEmbedded = false;
  visit(document, {
    Pair(_, { key, value }) {
      if (!isScalar(key) || !embedded.has(String(key.value)) || !isMap(value)) return;
      value.flow = true;
      hasEmbedded = true;
    },
  });
  return document.toString({ lineWidth: hasEmbedded ? 0 : 160 });
}

/** Replaces what stands between the marks of a page that is otherwise written by hand. */
function writeSection(file: string, section: string, text: string): void {
  const begin = `<!-- ${section}: generated from api/, do not edit -->`;
  const end = `<!-- end of ${section} -->`;
  const [before, after] = readFileSync(`${root}${file}`, "utf8").split(new RegExp(`${begin}[^]*${end}`));
  if (after === undefined) throw new Error(`${file} has no section "${section}".`);
  writeFileSync(`${root}${file}`, `${before}${begin}\n\n${text}\n\n${end}${after}`);
}
