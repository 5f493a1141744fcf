import assert from "node:assert/strict";
import fc from "fast-check";
import { isJsonObject } from "../../api/json.ts";
import { type KindName, kinds } from "../../api/kinds/registry.ts";
import { CONTROLLER_ACCOUNT } from "../../common/names.ts";
import { parseReview, renderAnswer } from "../../webhook/admission-review.ts";
import { admit, strict } from "../support/admission.ts";
import { checkJudging } from "../support/judging.ts";
import { type Manifest, soundManifests } from "../support/manifests.ts";
import { mutated } from "../support/mutations.ts";

/** Cases are made and counted by chunks, each from its own seed: a case is the same whoever runs it. */
export const CHUNK = 200;

export interface Case {
  readonly number: number;
  readonly of: Manifest;
  readonly object: unknown;
}

const arbitrary = mutated(soundManifests, { objectOf: ({ object }) => object });

export function casesOf(chunk: number, seed: number): readonly Case[] {
  const made = fc.sample(arbitrary, { numRuns: CHUNK, seed: seed + chunk });
  return made.map(({ of, object }, index) => ({ number: chunk * CHUNK + index, of, object }));
}

/** The review that the API server would send of a case: of a creation, or of an update of the sound object that it came from. */
export function reviewOf({ number, of: { kind, object: sound }, object }: Case): object {
  const { group, madeBy } = kinds[kind];
  const isUpdate = number % 4 === 3;
  return {
    apiVersion: "admission.k8s.io/v1",
    kind: "AdmissionReview",
    request: {
      uid: String(number),
      kind: { group, version: "v1alpha1", kind },
      namespace: "shop",
      operation: isUpdate ? "UPDATE" : "CREATE",
      userInfo: { username: madeBy === "controller" ? CONTROLLER_ACCOUNT : "alice" },
      object,
      ...(isUpdate ? { oldObject: sound } : {}),
    },
  };
}

/**
 * Judges a case and has both webhooks answer a review of it. Throws where an answer is not what every answer must be. Says what became of it:
 * the code of a refusal, or "admitted".
 */
export async function runCase(one: Case): Promise<string> {
  const before = keysOfPrototypes();
  checkJudging(one.of.kind, one.object);
  const parsed = parseReview(JSON.parse(JSON.stringify(reviewOf(one))));
  const outcome = parsed.ok ? await answer(one, parsed.request) : "no review";
  assert.equal(keysOfPrototypes(), before, "a prototype was changed");
  return outcome;
}

async function answer({ of: { kind } }: Case, request: Parameters<typeof admit>[0]): Promise<string> {
  const { verdict, object } = await admit(request, { policy: { ...strict, admitUnsupported: true } });
  assert.equal(typeof JSON.stringify(renderAnswer(request.uid, verdict)), "string");
  if (!verdict.isAllowed) return verdict.code;
  if (request.operation === "CREATE" && !isBeingDeleted(request.object)) checkStored(kind, object);
  return "admitted";
}

/** Such an object is let through as it is. */
const isBeingDeleted = (object: unknown): boolean =>
  isJsonObject(object) && isJsonObject(object["metadata"]) && object["metadata"]["deletionTimestamp"] !== undefined;

/** What was admitted can be read by whoever carries it out. */
function checkStored(kind: KindName, object: unknown): void {
  kinds[kind].parseSpec(JSON.parse(JSON.stringify(object)), { namespace: "shop" });
}

const prototypes = [Object.prototype, Array.prototype, String.prototype, Number.prototype, Function.prototype, Map.prototype];
const keysOfPrototypes = (): string => prototypes.map((prototype) => Reflect.ownKeys(prototype).map(String).join()).join(" ");
