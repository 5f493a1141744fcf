import jsonpatch from "fast-json-patch";
import type { z } from "zod";
import type { FieldError } from "../api/field-error.ts";
import { isJsonObject, type JsonObject } from "../api/json.ts";
import { isExperimentName } from "../api/kinds/experiments.ts";
import type { Kind } from "../api/kinds/define-kind.ts";
import { type KindName, kinds } from "../api/kinds/registry.ts";
import { UPDATE_REFUSAL } from "../api/update.ts";
import { annotations, FINALIZER } from "../common/names.ts";
import { type AdmissionRequest, allowed, type Verdict } from "./admission-review.ts";
import { planAuthor, readAuthor, withAuthor } from "./author.ts";
import type { Authorise } from "./authorise.ts";
import type { Forecast } from "./forecast.ts";
import type { Govern } from "./govern.ts";
import { judge } from "./judgement.ts";

export interface ExperimentPolicy {
  /** Admit what cannot be carried out yet, with a warning. For tests of the API alone. */
  readonly admitUnsupported: boolean;
  /** Whose objects are children of others and keep the author that they come with. */
  readonly controllerAccount: string;
}

/**
 * Fills the defaults in, writes the author down, adds the finalizer to new experiments. Refuses what breaks the rules here already: the
 * API server checks its schema next, and would answer with fewer mistakes and in other words.
 */
export function mutateExperiment(request: AdmissionRequest, policy: ExperimentPolicy): Verdict {
  const found = judge(request);
  if (found.is === "none") return allowed;
  if (found.is === "wrong") return refuseWrong(found);
  const { kind, raw } = found;
  const isNew = found.is === "right" && found.isNew;
  const author = planAuthor(request, { isNew, controllerAccount: policy.controllerAccount });
  const authored = withAuthor(found.is === "right" ? found.judged.object : raw, author);
  const finalized = request.operation === "CREATE" && isExperimentName(kind) ? withFinalizer(authored) : authored;
  const warnings = [
    // One that is refused for it hears so from validateExperiment.
    ...(found.is === "right" && (policy.admitUnsupported || !isNew) ? found.judged.unsupported.map(warnUnsupported) : []),
    ...(found.is === "right" && isNew ? warnIneffective(found.judged.ineffective) : []),
    ...warnOfAuthor(readAuthor(raw), author),
  ];
  return { ...allowed, patch: jsonpatch.compare(raw, finalized), warnings };
}

/**
 * Refuses mistakes, a change of a spec that may not change, what the author may not do, what halts and policies forbid, and last what
 * cannot be carried out yet. Other webhooks may have changed the object since `mutateExperiment`, so the author is looked at once more.
 */
export async function validateExperiment(
  request: AdmissionRequest,
  policy: ExperimentPolicy,
  { authorise, govern, forecast }: { readonly authorise: Authorise; readonly govern: Govern; readonly forecast: Forecast },
): Promise<Verdict> {
  const found = judge(request);
  if (found.is === "none") return allowed;
  if (found.is === "wrong") return refuseWrong(found);
  const { kind, raw } = found;
  const name = describe(kind, raw);
  const isNew = found.is === "right" && found.isNew;
  if (isOwnedHalt(kind, raw)) return refuse("InvalidSpec", `1 mistake in ${name}.`, [ownedError]);
  if (found.is === "right" && found.changes.length > 0 && !kinds[kind].mayChange)
    return refuse("SpecImmutable", `${UPDATE_REFUSAL}: the spec of ${name} cannot change once it exists.`, found.changes);
  if (isNew && kinds[kind].madeBy === "controller" && request.userInfo?.username !== policy.controllerAccount)
    return refuse("OnlyByController", `${name} cannot be written by hand: ${whoMakes(kind)}`, []);
  const author = planAuthor(request, { isNew, controllerAccount: policy.controllerAccount });
  if (readAuthor(raw) !== author) return refuse("AuthorChanged", `Another webhook changed who answers for ${name}.`, [authorError]);
  if (found.is === "kept" || !isNew) return allowed;
  const { judged } = found;
  const subject = { kind, judged, namespace: request.namespace ?? "", name };
  const isChild = request.userInfo?.username === policy.controllerAccount;
  const authorised = await authorise(author, { ...subject, isBeingCreated: request.operation === "CREATE" && !isChild });
  const verdict = authorised.isAllowed ? govern({ ...subject, isChild }) : authorised;
  if (verdict.isAllowed && (policy.admitUnsupported || judged.unsupported.length === 0))
    return isChild ? verdict : { ...verdict, warnings: await forecast(subject, { isDryRun: request.dryRun === true }) };
  if (!verdict.isAllowed) return verdict;
  return refuse("NotYetSupported", `Squall cannot carry all of ${name} out yet.`, judged.unsupported);
}

function whoMakes(kind: KindName): string {
  const { insteadOf }: Kind<z.ZodType> = kinds[kind];
  if (insteadOf === undefined) return `Squall makes a ${kind} where one is needed.`;
  return `Squall keeps no objects per pod. Write one of kind ${insteadOf}, which selects pods; squall explain POD shows what is in force.`;
}

/** The garbage collector deletes what has lost its owners, and asks nobody whether it may. */
const isOwnedHalt = (kind: string, { metadata }: JsonObject): boolean =>
  (kind === "Halt" || kind === "ClusterHalt") &&
  isJsonObject(metadata) &&
  Array.isArray(metadata["ownerReferences"]) &&
  metadata["ownerReferences"].length > 0;

const ownedError: FieldError = {
  path: "metadata.ownerReferences",
  message: "would have it deleted with its owner, whoever made it. Leave owners out, and delete the halt itself.",
};

const authorError: FieldError = {
  path: `metadata.annotations["${annotations.author}"]`,
  message: "is written by Squall alone. Leave this annotation out of the other webhook.",
};

/** Of a value that somebody wrote; one that is only missing is put back without a word, for kubectl replace leaves it out. */
function warnOfAuthor(written: string | undefined, author: string | undefined): readonly string[] {
  if (written === undefined || written === author) return [];
  return [`${annotations.author} says who answers for the object. Squall writes it, and ignores what you wrote there.`];
}

/** The API server passes 4,096 characters of warnings on. */
const MOST_WARNINGS = 20;

function warnIneffective(found: readonly FieldError[]): readonly string[] {
  const told = found.slice(0, MOST_WARNINGS).map(({ path, message }) => `NoEffect: ${path}: ${message}`);
  return found.length > MOST_WARNINGS ? [...told, `NoEffect: and ${found.length - MOST_WARNINGS} more.`] : told;
}

const warnUnsupported = ({ path, message }: FieldError): string => `NotYetSupported: ${path}: ${message} It is admitted and has no effect.`;

/** A list of thousands of wrong addresses says it all in the first. */
const MOST_TOLD = 100;

function refuse(code: string, summary: string, errors: readonly FieldError[]): Verdict {
  const lines = errors.slice(0, MOST_TOLD).map(({ path, message }) => `  ${path}: ${message}`);
  const more = errors.length > MOST_TOLD ? [`  and ${errors.length - MOST_TOLD} more`] : [];
  return { isAllowed: false, code, message: [summary, ...lines, ...more].join("\n") };
}

function refuseWrong({ kind, raw, errors }: { readonly kind: string; readonly raw: JsonObject; readonly errors: readonly FieldError[] }) {
  const count = errors.length === 1 ? "1 mistake" : `${errors.length} mistakes`;
  return refuse("InvalidSpec", `${count} in ${describe(kind, raw)}.`, errors);
}

function describe(kind: string, { metadata }: JsonObject): string {
  const name = isJsonObject(metadata) && typeof metadata["name"] === "string" ? ` ${metadata["name"].slice(0, 63)}` : "";
  return `${kind}${name}`;
}

function withFinalizer(object: JsonObject): JsonObject {
  const metadata = isJsonObject(object["metadata"]) ? object["metadata"] : {};
  const finalizers: readonly unknown[] = Array.isArray(metadata["finalizers"]) ? metadata["finalizers"] : [];
  return finalizers.includes(FINALIZER) ? object : { ...object, metadata: { ...metadata, finalizers: [...finalizers, FINALIZER] } };
}
