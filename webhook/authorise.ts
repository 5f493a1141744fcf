import { LONGEST_AUTHOR, parseAuthor } from "../api/author.ts";
import { describeRight, reachOf, type Right, suggestQuestion } from "../api/reach.ts";
import type { JsonObject } from "../api/json.ts";
import type { KindName } from "../api/kinds/registry.ts";
import { show } from "../api/text.ts";
import { annotations } from "../common/names.ts";
import type { Clock } from "../common/clock.ts";
import type { AccessReviews } from "../kube/access.ts";
import { allowed, type Verdict } from "./admission-review.ts";

/** Whether an author may do all that an object does. */
export type Authorise = (
  author: string | undefined,
  object: { readonly kind: KindName; readonly object: JsonObject; readonly namespace: string; readonly name: string },
) => Promise<Verdict>;

/** The API server waits for the webhook for 5 s. */
const LIMIT_MS = 3_500;
const RETRY_AFTER_SECONDS = 1;
const MOST_LINES = 20;

export function createAuthorise({ access, clock }: { readonly access: AccessReviews; readonly clock: Clock }): Authorise {
  return async (text, { kind, object, namespace, name }) => {
    if (text !== undefined && text.length > LONGEST_AUTHOR) return refuseLarge(text);
    const author = parseAuthor(text);
    if (author === undefined) return refuseNameless(name);
    const ending = new AbortController();
    const disarm = clock.after(LIMIT_MS, () => ending.abort(new Error(`There was no answer within ${LIMIT_MS / 1000} s.`)));
    try {
      const missing = await access.findMissing(author, reachOf(kind, object, { namespace }), ending.signal);
      return missing.length === 0 ? allowed : refuseMissing(author.username, name, missing);
    } catch (error) {
      return refuseUnknown(author.username, error);
    } finally {
      disarm();
    }
  };
}

function refuseMissing(username: string, name: string, missing: readonly Right[]): Verdict {
  const shown = missing.slice(0, MOST_LINES).map((right) => `  ${right.path}: ${describeRight(right)}.${suggestQuestion(right)}`);
  const more = missing.length > MOST_LINES ? [`  and ${missing.length - MOST_LINES} more`] : [];
  const rights = missing.length === 1 ? "this right is" : `these ${missing.length} rights are`;
  const message = [`${show(username)} may not do all that ${name} does: ${rights} missing.`, ...shown, ...more].join("\n");
  return { isAllowed: false, code: "Forbidden", message };
}

function refuseUnknown(username: string, error: unknown): Verdict {
  const why = error instanceof Error ? error.message : String(error);
  const message = `The API server did not say what ${show(username)} may do, so nothing was changed. Try again. ${why}`;
  return { isAllowed: false, code: "AuthorisationUnavailable", message, retryAfterSeconds: RETRY_AFTER_SECONDS };
}

const refuseNameless = (name: string): Verdict => ({
  isAllowed: false,
  code: "NoAuthor",
  message: `Nobody answers for ${name}: what the controller makes has to carry the annotation ${annotations.author} of what it is made from.`,
});

const refuseLarge = ({ length }: string): Verdict => ({
  isAllowed: false,
  code: "AuthorTooLarge",
  message: `The name, the groups and the rest of what the API server knows of you take ${length} characters, and ${LONGEST_AUTHOR} can be kept. Use an account with fewer groups.`,
});
