import jsonpatch from "fast-json-patch";
import type { FieldError } from "../api/field-error.ts";
import { isJsonObject, type JsonObject } from "../api/json.ts";
import { isExperimentName } from "../api/kinds/experiments.ts";
import { isKindName, type KindName, kinds } from "../api/kinds/registry.ts";
import { compareSpecs, UPDATE_REFUSAL } from "../api/update.ts";
import { FINALIZER } from "../common/names.ts";
import { type AdmissionRequest, allowed, type Verdict } from "./admission-review.ts";

export interface ExperimentPolicy {
  /** Admit what cannot be carried out yet, with a warning. For tests of the API alone. */
  readonly admitUnsupported: boolean;
}

/**
 * Fills the defaults in, of experiments also the finalizer at CREATE. Refuses what breaks the rules here already: the API server checks its schema
 * next, and would answer with fewer mistakes and in other words.
 */
export function mutateExperiment(request: AdmissionRequest, policy: ExperimentPolicy): Verdict {
  const judged = judge(request, policy);
  if (judged.is === "verdict") return judged.verdict;
  const { raw, object } = judged;
  const isNewExperiment = request.operation === "CREATE" && isExperimentName(request.kind.kind);
  const finalized = isNewExperiment ? withFinalizer(object) : object;
  return { ...allowed, patch: jsonpatch.compare(raw, finalized), warnings: judged.warnings };
}

/** Refuses mistakes, what cannot be carried out yet, and a change of a spec that may not change. */
export function validateExperiment(request: AdmissionRequest, policy: ExperimentPolicy): Verdict {
  const judged = judge(request, policy);
  if (judged.is === "verdict") return judged.verdict;
  const { kind, object } = judged;
  const changes = kinds[kind].mayChange ? [] : changesOfSpec(request, object);
  if (changes.length === 0) return allowed;
  return refuse("SpecImmutable", `${UPDATE_REFUSAL}: the spec of ${describe(kind, object)} cannot change once it exists.`, changes);
}

/** What an update changes in a spec; nothing at CREATE. */
function changesOfSpec({ kind: { kind }, namespace, operation, oldObject }: AdmissionRequest, object: JsonObject): readonly FieldError[] {
  if (operation !== "UPDATE" || !oldObject || !isKindName(kind)) return [];
  // An object may be older than a default of ours, or have been stored without the webhook.
  const before = kinds[kind].judge(oldObject, { namespace: namespace ?? "" });
  return compareSpecs((before.ok ? before.object : oldObject)["spec"], object["spec"]);
}

type Judgement =
  | { readonly is: "verdict"; readonly verdict: Verdict }
  | {
      readonly is: "sound";
      readonly kind: KindName;
      readonly raw: JsonObject;
      readonly object: JsonObject;
      readonly warnings: readonly string[];
    };

const verdict = (found: Verdict): Judgement => ({ is: "verdict", verdict: found });

function judge(request: AdmissionRequest, { admitUnsupported }: ExperimentPolicy): Judgement {
  const {
    kind: { kind },
    operation,
    namespace,
    object: raw,
  } = request;
  if (!isKindName(kind) || operation === "DELETE" || !raw) return verdict(allowed);
  // A deletion may never be held up, however the object came to be.
  if (isJsonObject(raw["metadata"]) && raw["metadata"]["deletionTimestamp"] !== undefined) return verdict(allowed);
  const judged = kinds[kind].judge(raw, { namespace: namespace ?? "" });
  // Whatever this version thinks of a spec that is there already: it must be possible to pause the experiment and to take finalizers off.
  const isNew = operation !== "UPDATE" || changesOfSpec(request, judged.ok ? judged.object : raw).length > 0;
  if (!judged.ok && !isNew) return verdict(allowed);
  if (!judged.ok) return verdict(refuse("InvalidSpec", `${count(judged.errors)} in ${describe(kind, raw)}.`, judged.errors));
  const sound = { is: "sound", kind, raw, object: judged.object } as const;
  if (judged.unsupported.length === 0) return { ...sound, warnings: [] };
  if (!admitUnsupported && isNew)
    return verdict(refuse("NotYetSupported", `Squall cannot carry all of ${describe(kind, raw)} out yet.`, judged.unsupported));
  const warnings = judged.unsupported.map(({ path, message }) => `NotYetSupported: ${path}: ${message} It is admitted and has no effect.`);
  return { ...sound, warnings };
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
