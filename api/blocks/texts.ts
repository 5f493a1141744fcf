import type { z } from "zod";
import { show, suggest } from "../text.ts";
import { textWith } from "./scalars.ts";

/** Texts that end up in headers, rules, file names and command lines of targets. */

export const hasControlCharacter = (text: string): boolean => /\p{Cc}/u.test(text);

/** One line of text: anything but control characters, which could begin a line or end a text where it is put to use. */
export const line = ({ max }: { readonly max?: number } = {}): z.ZodString =>
  textWith(
    (text) =>
      hasControlCharacter(text)
        ? `${show(text)} has a line break or another control character. Write it on one line, without those.`
        : undefined,
    max === undefined ? {} : { max },
  );

/** One of some words, where the schema of Chaos Mesh takes any text and a wrong one would do nothing. */
export const knownWord = (known: readonly string[], { ignoresCase = false }: { readonly ignoresCase?: boolean } = {}): z.ZodString =>
  textWith((text) =>
    known.includes(ignoresCase ? text.toLowerCase() : text)
      ? undefined
      : `${show(text)} is none of ${known.join(", ")}.${suggest(text, known)}`,
  );

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** Longest text of which the base64 form is shown whole in a message. */
const SHORT = 40;

export function problemWithBase64(text: string): string | undefined {
  if (BASE64.test(text)) return undefined;
  if (text.length <= SHORT)
    return `${show(text)} is no base64. Write the bytes in base64: ${show(Buffer.from(text).toString("base64"))} for this text.`;
  return `${show(text)} is no base64. Write the bytes in base64, as "base64 -w0" prints them.`;
}

export function problemWithJson(text: string): string | undefined {
  try {
    JSON.parse(text);
    return undefined;
  } catch {
    return `${show(text)} is no JSON. Write a JSON merge patch such as '{"status":"down"}'.`;
  }
}
