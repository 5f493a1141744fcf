import * as z from "zod";
import { matchesExpression } from "../selection.ts";
import { labelExpression, labelProblem } from "./selector.ts";
import { textMap } from "./text-map.ts";

/** A label selector as Kubernetes' own objects have it: all requirements must hold, and none at all matches everything. */
export const labelSelector = () =>
  z.strictObject({
    matchLabels: textMap(labelProblem).optional().describe("Labels that must be there, each with this value."),
    matchExpressions: z.array(labelExpression).max(100).optional().describe("Requirements on labels."),
  });
export type LabelSelector = z.output<ReturnType<typeof labelSelector>>;

export function matchesLabels(
  { matchLabels = {}, matchExpressions = [] }: LabelSelector,
  labels: Readonly<Record<string, string>> = {},
): boolean {
  return (
    Object.entries(matchLabels).every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value) &&
    matchExpressions.every((expression) => matchesExpression(labels, expression))
  );
}
