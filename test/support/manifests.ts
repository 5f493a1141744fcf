import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import type { JsonObject } from "../../api/json.ts";
import { fileNameOf, isKindName, type KindName, kindNames } from "../../api/kinds/registry.ts";

/**
 * The manifests of `test/data/manifests`, a file for each kind. Comments above a manifest say what becomes of it:
 *
 *   # accept: TITLE                 admitted; by the CRD alone, too
 *   # accept with webhook: TITLE    only with the webhook, which mends it before the CRD is asked
 *   # reject: TITLE                 refused; by the CRD alone, too
 *   # reject with webhook: TITLE    only the webhook refuses it
 *   # PATH: MESSAGE                 below a reject, one for each mistake: all that the webhook answers
 */
export interface Manifest {
  readonly title: string;
  readonly verdict: "accept" | "reject";
  readonly isHeldByCrd: boolean;
  /** `PATH: MESSAGE`, sorted. */
  readonly mistakes: readonly string[];
  readonly kind: KindName;
  readonly object: JsonObject & { readonly metadata: { readonly name: string; readonly namespace?: string } };
}

const folder = join(import.meta.dirname, "..", "data", "manifests");
const HEADING = /^# (accept|reject)( with webhook)?: (.+)$/;

export const manifestFile = (kind: KindName): string => join(folder, `${fileNameOf(kind)}.yaml`);

function parseManifest(text: string, file: string): Manifest {
  const comments = text.split("\n").filter((line) => line.startsWith("#"));
  const [heading = "", ...mistakes] = comments;
  const [, verdict, exception, title = ""] = HEADING.exec(heading) ?? [];
  const object = parse(text) as Manifest["object"];
  const { kind } = object;
  if ((verdict !== "accept" && verdict !== "reject") || typeof kind !== "string" || !isKindName(kind))
    throw new Error(`${file}: a manifest begins with ${JSON.stringify(heading)}, which says nothing about its fate.`);
  return { title, verdict, isHeldByCrd: exception === undefined, mistakes: mistakes.map((line) => line.slice(2)).toSorted(), kind, object };
}

/** All manifests of all kinds. */
export const manifests: readonly Manifest[] = globSync("*.yaml", { cwd: folder })
  .toSorted()
  .flatMap((file) =>
    readFileSync(join(folder, file), "utf8")
      .split(/^---\n/m)
      .map((text) => parseManifest(text, file)),
  );

export const manifestsOf = (kind: KindName): readonly Manifest[] => manifests.filter((manifest) => manifest.kind === kind);

/** What each kind admits, for mutations to begin with. */
export const soundManifests: readonly Manifest[] = kindNames.flatMap((kind) =>
  manifestsOf(kind).filter(({ verdict }) => verdict === "accept"),
);
