import jsonpatch from "fast-json-patch";
import type { FieldError } from "../api/field-error.ts";
import { isJsonObject, type JsonObject } from "../api/json.ts";
import { isKindName, kinds } from "../api/kinds/registry.ts";
import { compareSpecs, UPDATE_REFUSAL } from "../api/update.ts";
import { FINALIZER } from "../common/names.ts";
import { type AdmissionRequest, allowed, type Verdict } from "./admission-review.ts";

export interface ExperimentPolicy {
  /** Admit what cannot be carried out yet, with a warning. For tests of the API alone. */
  readonly admitUnsupported: boolean;
}

/**
 * Fills the defaults in and adds the finalizer at CREATE. Refuses what breaks the rules here already: the API server checks its schema
 * next, and would answer with fewer mistakes and in other words.
 */
export function mutateExperiment(request: AdmissionRequest, policy: ExperimentPolicy): Verdict {
  const judged = judge(request, policy);
  if (judged.is === "verdict") return judged.verdict;
  const { raw, object } = judged;
  const finalized = request.operation === "CREATE" ? withFinalizer(object) : object;
  return { ...allowed, patch: jsonpatch.compare(raw, finalized), warnings: judged.warnings };
}

/** Refuses mistakes, what cannot be carried out yet, and a change of spec. */
export function validateExperiment(request: AdmissionRequest, policy: ExperimentPolicy): Verdict {
  const judged = judge(request, policy);
  if (judged.is === "verdict") return judged.verdict;
  if (request.operation === "UPDATE" && request.oldObject) {
    // An object may be older than a default of ours, or have been stored without the webhook.
    const before = judge({ ...request, object: request.oldObject }, { admitUnsupported: true });
    const changes = compareSpecs((before.is === "sound" ? before.object : request.oldObject)["spec"], judged.object["spec"]);
    if (changes.length > 0) return refuse("SpecImmutable", `${UPDATE_REFUSAL}: an experiment cannot be changed once it exists.`, changes);
  }
  return allowed;
}

type Judgement =
  | { readonly is: "verdict"; readonly verdict: Verdict }
  | { readonly is: "sound"; readonly raw: JsonObject; readonly object: JsonObject; readonly warnings: readonly string[] };

const verdict = (found: Verdict): Judgement => ({ is: "verdict", verdict: found });

function judge({ kind: { kind }, namespace, object: raw }: AdmissionRequest, { admitUnsupported }: ExperimentPolicy): Judgement {
  if (!isKindName(kind)) return verdict(allowed);
  if (!raw) return verdict(allowed); // nothing is judged at DELETE
  // A deletion may never be held up, however the object came to be.
  if (isJsonObject(raw["metadata"]) && raw["metadata"]["deletionTimestamp"] !== undefined) return verdict(allowed);
  const judged = kinds[kind].judge(raw, { namespace: namespace ?? "default" });
  if (!judged.ok) return verdict(refuse("InvalidSpec", `${count(judged.errors)} in ${describe(kind, raw)}.`, judged.errors));
  if (judged.unsupported.length === 0) return { is: "sound", raw, object: judged.object, warnings: [] };
  if (!admitUnsupported)
    return verdict(refuse("NotYetSupported", `Squall cannot carry all of ${describe(kind, raw)} out yet.`, judged.unsupported));
  const warnings = judged.unsupported.map(({ path, message }) => `NotYetSupported: ${path}: ${message} It is admitted and has no effect.`);
  return { is: "sound", raw, object: judged.object, warnings };
}

function refuse(code: string, summary: string, errors: readonly FieldError[]): Verdict {
  const lines = errors.map(({ path, message }) => `  ${path}: ${message}`);
  return { isAllowed: false, code, message: [summary, ...lines].join("\n") };
}

const count = ({ length }: readonly unknown[]): string => (length === 1 ? "1 mistake" : `${length} mistakes`);

function describe(kind: string, { metadata }: JsonObject): string {
  const name = isJsonObject(metadata) && typeof metadata["name"] === "string" ? ` ${metadata["name"].slice(0, 63)}` : "";
  return `${kind}${name}`;
}

function withFinalizer(object: JsonObject): JsonObject {
  const metadata = isJsonObject(object["metadata"]) ? object["metadata"] : {};
  const finalizers: readonly unknown[] = Array.isArray(metadata["finalizers"]) ? metadata["finalizers"] : [];
  return finalizers.includes(FINALIZER) ? object : { ...object, metadata: { ...metadata, finalizers: [...finalizers, FINALIZER] } };
}
