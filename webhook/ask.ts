import type { Author } from "../api/author.ts";
import type { Right } from "../api/reach.ts";
import { show } from "../api/text.ts";
import type { Clock } from "../common/clock.ts";
import type { AccessReviews } from "../kube/access.ts";
import type { Verdict } from "./admission-review.ts";

export interface AskDeps {
  readonly access: AccessReviews;
  readonly clock: Clock;
}

export type Answer =
  | { readonly is: "known"; readonly missing: readonly Right[] }
  /** The API server did not say, so nothing may be changed for now. */
  | { readonly is: "unknown"; readonly verdict: Verdict };

/** The API server waits for the webhook for 5 s. */
const LIMIT_MS = 3_500;
const RETRY_AFTER_SECONDS = 1;

/** Asks which of these rights somebody lacks, for as long as a review may take. */
export async function askInTime(author: Author, rights: readonly Right[], { access, clock }: AskDeps): Promise<Answer> {
  const ending = new AbortController();
  const disarm = clock.after(LIMIT_MS, () => ending.abort(new Error(`There was no answer within ${LIMIT_MS / 1000} s.`)));
  try {
    return { is: "known", missing: await access.findMissing(author, rights, ending.signal) };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const message = `The API server did not say what ${show(author.username)} may do, so nothing was changed. Try again. ${why}`;
    const verdict = { isAllowed: false, code: "AuthorisationUnavailable", message, retryAfterSeconds: RETRY_AFTER_SECONDS };
    return { is: "unknown", verdict };
  } finally {
    disarm();
  }
}
