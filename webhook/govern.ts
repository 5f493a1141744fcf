import { describeErrors } from "../api/field-error.ts";
import { isJsonObject, type JsonObject } from "../api/json.ts";
import type { SoundObject } from "../api/kinds/define-kind.ts";
import { actsOfJudged } from "../api/policy/acts.ts";
import { type Around, findViolations, type Policy } from "../api/policy/violations.ts";
import type { Clock } from "../common/clock.ts";
import { describeHalt } from "../kube/limits.ts";
import type { Halt } from "../kube/limit-resources.ts";
import { allowed, type Verdict } from "./admission-review.ts";

/** Whether halts and policies let an object be made. */
export type Govern = (object: {
  readonly kind: string;
  readonly judged: SoundObject<unknown>;
  readonly name: string;
  /** Made by the controller from an object of somebody: annotations were asked of that one. */
  readonly isChild: boolean;
}) => Verdict;

export function createGovern({
  limits,
  labelsOf,
  clock,
}: {
  readonly limits: { readonly policies: readonly Policy[]; haltOn(namespaces: readonly string[] | "all"): Halt | undefined };
  readonly labelsOf: Around["labelsOf"];
  readonly clock: Clock;
}): Govern {
  return ({ kind, judged, name, isChild }) => {
    const acts = actsOfJudged(kind, judged);
    if (acts.length === 0) return allowed;
    const touched = acts.some((act) => act.namespaces === "all") ? "all" : acts.flatMap((act) => act.namespaces);
    const halt = limits.haltOn(touched);
    if (halt !== undefined) {
      const message = `${describeHalt(halt)} refuses ${name} until it is deleted.`;
      return { isAllowed: false, code: "Halted", message };
    }
    const annotations = isChild ? "not asked" : annotationsOf(judged.object);
    const violations = findViolations(limits.policies, { acts, annotations }, { now: clock.now(), labelsOf });
    if (violations.length === 0) return allowed;
    const count = violations.length === 1 ? "1 violation" : `${violations.length} violations`;
    const message = `${count} in ${name}.\n${describeErrors(violations).replaceAll(/^/gm, "  ")}`;
    return { isAllowed: false, code: "PolicyViolation", message };
  };
}

function annotationsOf({ metadata }: JsonObject): Readonly<Record<string, string>> {
  const all = isJsonObject(metadata) && isJsonObject(metadata["annotations"]) ? metadata["annotations"] : {};
  return Object.fromEntries(Object.entries(all).flatMap(([key, value]) => (typeof value === "string" ? [[key, value]] : [])));
}
