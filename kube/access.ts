import { createHash } from "node:crypto";
import { type Author, renderAuthor } from "../api/author.ts";
import { keyOfRight, type Right } from "../api/reach.ts";
import type { Clock } from "../common/clock.ts";
import type { Kube } from "./kube.ts";
import { subjectAccessReviews } from "./resources.ts";

/** Asks the API server what somebody may do; answers are remembered for a moment. */
export interface AccessReviews {
  /**
   * The rights that the author does not have. Throws a KubeError when the API server cannot be asked, and the signal's reason when it is
   * aborted: then nothing is known.
   */
  findMissing(author: Author, rights: readonly Right[], signal: AbortSignal): Promise<readonly Right[]>;
}

/** A right that was taken away holds for so long. */
const ALLOWED_MS = 5_000;
/** Shorter, for somebody may be waiting for it. */
const DENIED_MS = 1_000;
const MOST_ANSWERS = 4_096;
const QUESTIONS_AT_ONCE = 16;
/** From so many namespaces on, one question about all of them comes first. */
const MANY = 4;
/** Beyond, only whoever may do it in all namespaces may do it. */
const MOST_NAMESPACES = 500;

interface Answer {
  readonly isAllowed: boolean;
  readonly untilMs: number;
}

export function createAccessReviews({ kube, clock }: { readonly kube: Kube; readonly clock: Clock }): AccessReviews {
  /** Oldest use first. */
  const answers = new Map<string, Answer>();

  async function isAllowed(author: Author, subject: string, right: Right, signal: AbortSignal): Promise<boolean> {
    const key = `${subject} ${keyOfRight(right)}`;
    const known = answers.get(key);
    answers.delete(key);
    if (known !== undefined && clock.monotonicMs() < known.untilMs) {
      answers.set(key, known);
      return known.isAllowed;
    }
    const { status } = await kube.create(subjectAccessReviews, { metadata: {}, spec: planQuestion(author, right) }, {}, signal);
    answers.set(key, { isAllowed: status.allowed, untilMs: clock.monotonicMs() + (status.allowed ? ALLOWED_MS : DENIED_MS) });
    for (const oldest of answers.keys()) {
      if (answers.size <= MOST_ANSWERS) break;
      answers.delete(oldest);
    }
    return status.allowed;
  }

  return {
    async findMissing(author, rights, signal) {
      const subject = createHash("sha256").update(renderAuthor(author)).digest("base64");
      const allowed = (right: Right): Promise<boolean> => isAllowed(author, subject, right, signal);
      const kinds = [...Map.groupBy(rights, withoutNamespace).values()].map((alike) => ({ alike, everywhere: wideningOf(alike) }));
      const narrow = await filterAsync(kinds, async ({ everywhere }) => everywhere === undefined || !(await allowed(everywhere)));
      const asked = narrow.flatMap(({ alike, everywhere }) =>
        everywhere !== undefined && alike.length > MOST_NAMESPACES ? [everywhere] : alike,
      );
      return await filterAsync(asked, async (right) => !(await allowed(right)));
    },
  };
}

/** See https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/subject-access-review-v1/. */
function planQuestion({ username, uid, groups, extra }: Author, { verb, group, resource, namespace, name }: Right): object {
  return {
    user: username,
    ...(uid !== undefined && { uid }),
    groups,
    extra,
    // No namespace: all of them, or of a kind that has none.
    resourceAttributes: { verb, group, resource, ...(namespace !== undefined && { namespace }), ...(name !== undefined && { name }) },
  };
}

const withoutNamespace = (right: Right): string => keyOfRight({ ...right, namespace: undefined });

/** The same right in all namespaces, where that is worth a question of its own. */
function wideningOf(alike: readonly Right[]): Right | undefined {
  const [first] = alike;
  if (first === undefined || !first.isNamespaced) return undefined;
  return alike.find(({ namespace }) => namespace === undefined) ?? (alike.length < MANY ? undefined : { ...first, namespace: undefined });
}

/** Those that pass, in their order; a few are judged at a time. */
async function filterAsync<T>(items: readonly T[], passes: (item: T) => Promise<boolean>): Promise<readonly T[]> {
  const verdicts: boolean[] = [];
  for (let start = 0; start < items.length; start += QUESTIONS_AT_ONCE)
    verdicts.push(...(await Promise.all(items.slice(start, start + QUESTIONS_AT_ONCE).map(passes))));
  return items.filter((_, index) => verdicts[index]);
}
