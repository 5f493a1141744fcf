import { LONGEST_AUTHOR, parseAuthor } from "../api/author.ts";
import { describeRight, OWN_PATH, reachOf, type Right, suggestQuestion } from "../api/reach.ts";
import type { SoundSpec } from "../api/kinds/define-kind.ts";
import type { KindName } from "../api/kinds/registry.ts";
import { show } from "../api/text.ts";
import { annotations } from "../common/names.ts";
import { allowed, type Verdict } from "./admission-review.ts";
import { type AskDeps, askInTime } from "./ask.ts";

/** Whether an author may do all that an object does. */
export type Authorise = (
  author: string | undefined,
  object: {
    readonly kind: KindName;
    readonly judged: SoundSpec<unknown>;
    readonly namespace: string;
    readonly name: string;
    /** The API server has just let the author create it, so that much need not be asked again. */
    readonly isBeingCreated: boolean;
  },
) => Promise<Verdict>;

const MOST_LINES = 20;

export function createAuthorise(deps: AskDeps): Authorise {
  return async (text, { kind, judged, namespace, name, isBeingCreated }) => {
    if (text !== undefined && text.length > LONGEST_AUTHOR) return refuseLarge(text);
    const author = parseAuthor(text);
    if (author === undefined) return refuseNameless(name);
    const rights = reachOf(kind, judged, { namespace }).filter(({ path }) => !(isBeingCreated && path === OWN_PATH));
    const answer = await askInTime(author, rights, deps);
    if (answer.is === "unknown") return answer.verdict;
    return answer.missing.length === 0 ? allowed : refuseMissing(author.username, name, answer.missing);
  };
}

function refuseMissing(username: string, name: string, missing: readonly Right[]): Verdict {
  const shown = missing.slice(0, MOST_LINES).map((right) => `  ${right.path}: ${describeRight(right)}.${suggestQuestion(right)}`);
  const more = missing.length > MOST_LINES ? [`  and ${missing.length - MOST_LINES} more`] : [];
  const rights = missing.length === 1 ? "this right is" : `these ${missing.length} rights are`;
  const message = [`${show(username)} may not do all that ${name} does: ${rights} missing.`, ...shown, ...more].join("\n");
  return { isAllowed: false, code: "Forbidden", message };
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
