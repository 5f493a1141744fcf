import { parseAuthor, renderAuthor } from "../api/author.ts";
import { isJsonObject } from "../api/json.ts";
import { describeRight, type Right, suggestQuestion } from "../api/reach.ts";
import { show } from "../api/text.ts";
import { kinds } from "../api/kinds/registry.ts";
import type { Clock } from "../common/clock.ts";
import type { AccessReviews } from "../kube/access.ts";
import { type AdmissionRequest, allowed, type Verdict } from "./admission-review.ts";
import { readAuthor } from "./author.ts";

/** Who may halt the whole cluster may lift what anybody halted. */
const operator: Right = {
  verb: "create",
  group: kinds.ClusterHalt.group,
  resource: kinds.ClusterHalt.plural,
  isNamespaced: false,
  namespace: undefined,
  path: "metadata",
};
const LIMIT_MS = 3_500;

/** Judges the deletion of a Halt: by its author or an operator. Of a ClusterHalt RBAC alone decides, as only operators have any right to it. */
export async function judgeLift(
  { kind, oldObject, userInfo }: AdmissionRequest,
  { access, clock }: { readonly access: AccessReviews; readonly clock: Clock },
): Promise<Verdict> {
  if (kind.kind !== "Halt" || !oldObject) return allowed;
  // In a namespace that is being deleted nothing is faulted any more.
  if (isJsonObject(oldObject["metadata"]) && oldObject["metadata"]["deletionTimestamp"] !== undefined) return allowed;
  const author = parseAuthor(readAuthor(oldObject));
  if (userInfo !== undefined && author !== undefined && author.username === userInfo.username && author.uid === userInfo.uid)
    return allowed;
  const who = userInfo && parseAuthor(renderAuthor(userInfo));
  const ending = new AbortController();
  const disarm = clock.after(LIMIT_MS, () => ending.abort(new Error(`There was no answer within ${LIMIT_MS / 1000} s.`)));
  try {
    const missing = who === undefined ? [operator] : await access.findMissing(who, [operator], ending.signal);
    if (missing.length === 0) return allowed;
    const by = author === undefined ? "an operator" : `${show(author.username)}, who made it, or by an operator`;
    const message = `This Halt can only be deleted by ${by}: somebody with the right to ${describeRight(operator)}..${suggestQuestion(operator)}`;
    return { isAllowed: false, code: "Forbidden", message };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const message = `The API server did not say what you may do, so the Halt stays. Try again. ${why}`;
    return { isAllowed: false, code: "AuthorisationUnavailable", message, retryAfterSeconds: 1 };
  } finally {
    disarm();
  }
}
