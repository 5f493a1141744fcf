import * as z from "zod";
import { show, suggest } from "../text.ts";
import { textWith } from "./scalars.ts";
import { hasControlCharacter, problemWithBase64 } from "./texts.ts";
import { mapOf, textMap } from "./text-map.ts";

/** Parts of HTTP messages, to look for and to put in. Names are those of RFC 9110. */

export const httpMethods = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT"] as const;

const LONGEST_BODY = 1_048_576;
const LONGEST_VALUE = 8_192;
const MOST_PAIRS = 100;

const TOKEN = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/;

export const methodName = (): z.ZodString =>
  textWith(
    (text) =>
      TOKEN.test(text) ? undefined : `${show(text)} cannot be an HTTP method. Write one such as "GET".${suggest(text, httpMethods)}`,
    { max: 64 },
  );

/** 100 to 999, as a status line can hold it. */
export const statusCode = (): z.ZodNumber => z.number().int().min(100).max(999);

/** `*` and `?` are wildcards, over slashes too. The query is no part of a path. */
export const pathPattern = (): z.ZodString =>
  textWith((text) => {
    if (hasControlCharacter(text)) return `${show(text)} has a control character. Write the path without it.`;
    if (text === "") return `"" matches no path. Leave it out for every path.`;
    return /^[/*?]/.test(text) ? undefined : `${show(text)} matches no path: paths begin with "/". Write ${show(`/${text.slice(0, 50)}`)}.`;
  });

/** A path to be sent. */
export const path = (): z.ZodString =>
  textWith((text) => {
    if (!text.startsWith("/")) return `${show(text)} is no path. Begin it with "/".`;
    return hasControlCharacter(text) || text.includes(" ")
      ? `${show(text)} has a blank or a control character. Write "%20" for a blank.`
      : undefined;
  });

const problemWithHeaderName = (name: string): string | undefined =>
  TOKEN.test(name) ? undefined : `${show(name)} cannot be the name of a header. Write letters, digits and "-", such as "Retry-After".`;

const problemWithHeaderValue = (value: string): string | undefined =>
  hasControlCharacter(value.replaceAll("\t", " "))
    ? `${show(value)} has a line break or another control character, which would begin another header. Write it on one line.`
    : undefined;

const problemWithHeader = (name: string, value: string): string | undefined => problemWithHeaderName(name) ?? problemWithHeaderValue(value);

export const headers = () => textMap(problemWithHeader, { longest: LONGEST_VALUE });

/** Headers, each with all of its values. */
export const headerLists = () =>
  mapOf(z.array(textWith(problemWithHeaderValue, { max: 4096 })).max(MOST_PAIRS), { max: MOST_PAIRS, problem: problemWithHeaderName });

export const queries = () =>
  textMap((name) => (name === "" ? "A query needs a name. Write one before the colon." : undefined), { longest: LONGEST_VALUE });

type Pair = readonly [name: string, value: string];

/** Pairs of a name and a value: some names may come more than once. */
const pairs = (problem: (name: string, value: string) => string | undefined, sample: Pair) =>
  z
    .array(
      z
        .array(z.string().max(LONGEST_VALUE))
        .check((context) => {
          const [name, value, ...more] = context.value;
          const message =
            name === undefined || value === undefined || more.length > 0
              ? `has ${context.value.length === 1 ? "1 entry" : `${context.value.length} entries`}. Write a pair of name and value, such as ${JSON.stringify(sample)}.`
              : problem(name, value);
          if (message !== undefined) context.issues.push({ code: "custom", message, input: context.value, continue: true });
        })
        .meta({ minItems: 2, maxItems: 2 }),
    )
    .max(MOST_PAIRS);

export const headerPairs = () => pairs(problemWithHeader, ["X-Chaos", "on"]);

export const queryPairs = () => pairs((name) => (name === "" ? "A query needs a name. Write it first." : undefined), ["page", "2"]);

/** Bytes of a body, in base64. */
export const body = (): z.ZodString => textWith(problemWithBase64, { max: LONGEST_BODY }).meta({ format: "byte" });

/** A body as text. */
export const bodyText = (problem: (text: string) => string | undefined): z.ZodString => textWith(problem, { max: LONGEST_BODY });
