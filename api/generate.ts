import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { stringify } from "yaml";
import { planCrd } from "./crd.ts";
import { planFieldTable } from "./field-table.ts";
import { kinds } from "./kinds/registry.ts";

/** `npm run generate`: writes manifests/crds and the field tables of docs/kinds, from the definitions. */
const root = fileURLToPath(new URL("../", import.meta.url));
const BEGIN = "<!-- fields: generated from api/, do not edit -->";
const END = "<!-- end of fields -->";

mkdirSync(`${root}manifests/crds`, { recursive: true });
for (const definition of [kinds.NetworkChaos, kinds.PodChaos]) {
  const crd = planCrd<(typeof definition)["schema"]>(definition);
  const text = stringify(crd, { lineWidth: 160, aliasDuplicateObjects: false });
  writeFileSync(`${root}manifests/crds/${definition.plural}.yaml`, `# Generated from api/ by "npm run generate"; do not edit.\n${text}`);

  const page = `${root}docs/kinds/${definition.kind.replaceAll(/(?<!^)([A-Z])/g, "-$1").toLowerCase()}.md`;
  const [before, after] = readFileSync(page, "utf8").split(new RegExp(`${BEGIN}[^]*${END}`));
  writeFileSync(page, `${before}${BEGIN}\n\n${planFieldTable(crd)}\n\n${END}${after}`);
}
