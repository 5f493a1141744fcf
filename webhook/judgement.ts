import { isDeepStrictEqual } from "node:util";
import type { FieldError } from "../api/field-error.ts";
import { isJsonObject, type JsonObject } from "../api/json.ts";
import type { SoundObject } from "../api/kinds/define-kind.ts";
import { isKindName, type KindName, kinds } from "../api/kinds/registry.ts";
import { compareSpecs } from "../api/update.ts";
import type { AdmissionRequest } from "./admission-review.ts";

/** What a review is about, seen by the rules of its kind. */
export type Judgement =
  /** Nothing of ours, or on its way out: a deletion may never be held up, however the object came to be. */
  | { readonly is: "none" }
  | { readonly is: "wrong"; readonly kind: KindName; readonly raw: JsonObject; readonly errors: readonly FieldError[] }
  /**
   * A spec that is there already and stays as it is, whatever this version thinks of it: it must be possible to pause the experiment and to
   * take finalizers off.
   */
  | { readonly is: "kept"; readonly kind: KindName; readonly raw: JsonObject }
  | {
      readonly is: "right";
      readonly kind: KindName;
      readonly raw: JsonObject;
      readonly judged: SoundObject<unknown>;
      /** What an update changes in the spec; nothing at CREATE. */
      readonly changes: readonly FieldError[];
      /** At CREATE and at a change of spec: somebody has to answer for it. */
      readonly isNew: boolean;
    };

export function judge(request: AdmissionRequest): Judgement {
  const { operation, namespace = "", object: raw, oldObject } = request;
  const { kind } = request.kind;
  if (!isKindName(kind) || operation === "DELETE" || !raw) return { is: "none" };
  if (isJsonObject(raw["metadata"]) && raw["metadata"]["deletionTimestamp"] !== undefined) return { is: "none" };
  // Most updates are of metadata, and an object may be large.
  if (operation === "UPDATE" && isDeepStrictEqual(raw["spec"], oldObject?.["spec"])) return { is: "kept", kind, raw };
  const judged = kinds[kind].judge(raw, { namespace });
  const changes = changesOfSpec(kind, request, judged.ok ? judged.object : raw);
  const isNew = operation !== "UPDATE" || changes.length > 0;
  if (!judged.ok) return isNew ? { is: "wrong", kind, raw, errors: judged.errors } : { is: "kept", kind, raw };
  return { is: "right", kind, raw, judged, changes, isNew };
}

function changesOfSpec(
  kind: KindName,
  { namespace = "", operation, oldObject }: AdmissionRequest,
  object: JsonObject,
): readonly FieldError[] {
  if (operation !== "UPDATE" || !oldObject) return [];
  // An object may be older than a default of ours, or have been stored without the webhook.
  const before = kinds[kind].judge(oldObject, { namespace });
  return compareSpecs((before.ok ? before.object : oldObject)["spec"], object["spec"]);
}
