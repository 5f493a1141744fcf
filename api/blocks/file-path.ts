import type { z } from "zod";
import { show } from "../text.ts";
import { textWith } from "./scalars.ts";
import { hasControlCharacter } from "./texts.ts";

/** Paths and globs of files, as the target sees them. */

/** PATH_MAX of Linux. */
const LONGEST_PATH = 4096;

const partsOf = (path: string): readonly string[] => path.split("/").filter((part) => part !== "");

function problemWithPath(text: string): string | undefined {
  if (hasControlCharacter(text)) return `${show(text)} has a control character. Write the path without it.`;
  if (!text.startsWith("/")) return `${show(text)} is no path from the root. Begin it with "/".`;
  return partsOf(text).includes("..") ? `${show(text)} goes up with "..". Write the path without it.` : undefined;
}

export const absolutePath = ({ missing }: { readonly missing: string }): z.ZodString =>
  textWith(problemWithPath, { max: LONGEST_PATH, missing }).meta({ pattern: "^/" });

/**
 * What is wrong with a glob. `?`, `*`, `[a-z]` and `[!a-z]` stand within one name, `**` for any number of folders: the syntax of Chaos
 * Mesh's file system, which takes a glob that it cannot read for all files. See https://docs.rs/glob/latest/glob/struct.Pattern.html.
 */
function problemWithGlob(text: string): string | undefined {
  for (const part of partsOf(withoutClasses(text))) {
    if (part.includes("[")) return `${show(text)} has a "[" without its "]". Write "[[]" for the character itself.`;
    if (part.includes("**") && part !== "**")
      return `${show(text)}: "**" stands for whole folders and must be alone between two "/". Write ${show(text.replace(/\*\*+/, "**/*").slice(0, 50))} or use "*".`;
  }
  if (!text.startsWith("/") && !text.startsWith("**"))
    return `${show(text)} matches nothing: it is compared with the whole path, which begins with "/". Write ${show(`/${text.slice(0, 50)}`)} or ${show(`**/${text.slice(0, 50)}`)}.`;
  if (text.endsWith("/"))
    return `${show(text)} matches nothing, as no path ends in "/". Write ${show(`${text.slice(-50)}**`)} for all that is below.`;
  return hasControlCharacter(text) ? `${show(text)} has a control character. Write the path without it.` : undefined;
}

/** The glob with every `[…]` taken out. `]` right after the bracket, or after its `!`, belongs to the class. */
const withoutClasses = (glob: string): string => glob.replaceAll(/\[(?:![\s\S]|[^!])[^\]]*\]/g, "?");

/** The empty text stands for all files. */
export const globOrEmpty = (): z.ZodString => textWith((text) => (text === "" ? undefined : problemWithGlob(text)), { max: LONGEST_PATH });

/** Whether a glob can match the folder or anything below it, by what stands before its first wildcard. */
export function canMatchBelow(glob: string, folder: string): boolean {
  const parts = partsOf(glob);
  for (const [index, name] of partsOf(folder).entries()) {
    const part = parts[index];
    if (part === undefined) return false;
    if (/[*?[]/.test(part)) return true;
    if (part !== name) return false;
  }
  return true;
}
