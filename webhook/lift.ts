import { parseAuthor } from "../api/author.ts";
import { isJsonObject } from "../api/json.ts";
import { describeRight, type Right, suggestQuestion } from "../api/reach.ts";
import { show } from "../api/text.ts";
import { kinds } from "../api/kinds/registry.ts";
import { type AdmissionRequest, allowed, type Verdict } from "./admission-review.ts";
import { type AskDeps, askInTime } from "./ask.ts";
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

/** Judges the deletion of a Halt: by its author or an operator. Of a ClusterHalt RBAC alone decides, as only operators have any right to it. */
export async function judgeLift({ kind, oldObject, userInfo }: AdmissionRequest, deps: AskDeps): Promise<Verdict> {
  if (kind.kind !== "Halt" || !oldObject) return allowed;
  // In a namespace that is being deleted nothing is faulted any more.
  if (isJsonObject(oldObject["metadata"]) && oldObject["metadata"]["deletionTimestamp"] !== undefined) return allowed;
  const author = parseAuthor(readAuthor(oldObject));
  if (userInfo !== undefined && author !== undefined && author.username === userInfo.username && author.uid === userInfo.uid)
    return allowed;
  const answer = userInfo && (await askInTime(userInfo, [operator], deps));
  if (answer?.is === "unknown") return answer.verdict;
  if (answer?.missing.length === 0) return allowed;
  const by = author === undefined ? "an operator" : `${show(author.username)}, who made it, or by an operator`;
  const message = `This Halt can only be deleted by ${by}: somebody with the right to ${describeRight(operator)}.${suggestQuestion(operator)}`;
  return { isAllowed: false, code: "Forbidden", message };
}
