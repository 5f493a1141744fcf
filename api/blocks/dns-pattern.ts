import type { z } from "zod";
import { show } from "../text.ts";
import { textWith } from "./scalars.ts";

/** Names of hosts in which `?` stands for one character and a `*` at the end for the rest. */

const PRINTABLE = /^[\u0021-\u007e]+$/;

function problemWithDnsPattern(text: string): string | undefined {
  if (text === "") return `"" matches no name. Leave the list empty for every name.`;
  const [, host] = /^[a-z]+:\/\/([^/:]*)/i.exec(text) ?? [];
  if (host !== undefined) return `${show(text)} is a URL. Write the name of the host alone: ${show(host)}.`;
  if (!PRINTABLE.test(text))
    return `${show(text)} has characters that no name in DNS has. Write names as DNS has them, such as "xn--bcher-kva.example".`;
  const [, name, port] = /^(.*):(\d+)$/.exec(text) ?? [];
  if (name !== undefined && port !== undefined) return `${show(text)} has a port, and names in DNS have none. Write ${show(name)}.`;
  const star = text.indexOf("*");
  if (star >= 0 && star < text.length - 1)
    return `${show(text)}: "*" can only stand at the end, as in "cdn.*". Write the names that you mean, or "?" for single characters.`;
  return undefined;
}

/** 253 characters, and a dot at the end. */
const LONGEST_NAME = 254;

export const dnsPattern = (): z.ZodString => textWith(problemWithDnsPattern, { max: LONGEST_NAME });
