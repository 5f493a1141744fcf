import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { stringify } from "yaml";
import { planCrd } from "./crd.ts";
import { planFieldTable } from "./field-table.ts";
import { fileNameOf, kindNames, kinds } from "./kinds/registry.ts";

/** `npm run generate`: writes manifests/crds and their list in the kustomization, and the field tables of docs/kinds, from the definitions. */
const root = fileURLToPath(new URL("../", import.meta.url));
const BEGIN = "<!-- fields: generated from api/, do not edit -->";
const END = "<!-- end of fields -->";

mkdirSync(`${root}manifests/crds`, { recursive: true });
for (const name of kindNames) {
  const crd = planCrd(kinds[name]);
  const text = stringify(crd, { lineWidth: 160, aliasDuplicateObjects: false });
  writeFileSync(`${root}manifests/crds/${kinds[name].plural}.yaml`, `# Generated from api/ by "npm run generate"; do not edit.\n${text}`);

  const page = `${root}docs/kinds/${fileNameOf(name)}.md`;
  const [before, after] = readFileSync(page, "utf8").split(new RegExp(`${BEGIN}[^]*${END}`));
  writeFileSync(page, `${before}${BEGIN}\n\n${planFieldTable(crd)}\n\n${END}${after}`);
}

const kustomization = `${root}manifests/kustomization.yaml`;
const files = kindNames.map((name) => `  - crds/${kinds[name].plural}.yaml\n`).toSorted();
writeFileSync(kustomization, readFileSync(kustomization, "utf8").replace(/( {2}- crds\/.*\n)+/, files.join("")));
