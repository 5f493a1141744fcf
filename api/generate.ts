import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { stringify } from "yaml";
import { planCrd } from "./crd.ts";
import { planFieldTable } from "./field-table.ts";
import { fileNameOf, kindNames, kinds } from "./kinds/registry.ts";
import { planRuleTables } from "./rules-page.ts";

/** `npm run generate`: writes manifests/crds and their list in the kustomization, the field tables of docs/kinds and docs/rules.md, from the definitions. */
const root = fileURLToPath(new URL("../", import.meta.url));

mkdirSync(`${root}manifests/crds`, { recursive: true });
for (const name of kindNames) {
  const crd = planCrd(kinds[name]);
  const text = stringify(crd, { lineWidth: 160, aliasDuplicateObjects: false });
  writeFileSync(`${root}manifests/crds/${kinds[name].plural}.yaml`, `# Generated from api/ by "npm run generate"; do not edit.\n${text}`);
  writeSection(`docs/kinds/${fileNameOf(name)}.md`, "fields", planFieldTable(crd));
}
writeSection("docs/rules.md", "rules", planRuleTables(kindNames.map((name) => kinds[name])));

const kustomization = `${root}manifests/kustomization.yaml`;
const files = kindNames.map((name) => `  - crds/${kinds[name].plural}.yaml\n`).toSorted();
writeFileSync(kustomization, readFileSync(kustomization, "utf8").replace(/( {2}- crds\/.*\n)+/, files.join("")));

/** Replaces what stands between the marks of a page that is otherwise written by hand. */
function writeSection(file: string, section: string, text: string): void {
  const begin = `<!-- ${section}: generated from api/, do not edit -->`;
  const end = `<!-- end of ${section} -->`;
  const [before, after] = readFileSync(`${root}${file}`, "utf8").split(new RegExp(`${begin}[^]*${end}`));
  if (after === undefined) throw new Error(`${file} has no section "${section}".`);
  writeFileSync(`${root}${file}`, `${before}${begin}\n\n${text}\n\n${end}${after}`);
}
