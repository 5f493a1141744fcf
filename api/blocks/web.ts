import type { z } from "zod";
import { show } from "../text.ts";
import { textWith } from "./scalars.ts";

/** Texts of the web: URLs, status codes, and names that another system gives. */

/** Undefined for all but an http or https URL with a host. Its host is whatever a browser would make of it: it is not asked for here. */
export function parseHttpUrl(text: string): URL | undefined {
  if (!/^https?:\/\/[^/\s]/i.test(text) || /[\s\p{Cc}]/u.test(text) || !URL.canParse(text)) return undefined;
  return new URL(text);
}

export const httpUrl = (sample = "http://api.shop:8080/health"): z.ZodString =>
  textWith(
    (text) =>
      parseHttpUrl(text) === undefined ? `${show(text)} is no URL. Write one with a scheme and a host, such as "${sample}".` : undefined,
    { missing: `is missing. Write a URL such as "${sample}".` },
  );

/** Chaos Mesh's own leniency: an address that begins with a host is an http one. */
export const withScheme = (address: unknown): unknown =>
  typeof address === "string" && /^[[A-Za-z0-9]/.test(address) && !address.includes("://") ? `http://${address}` : address;

/** A name that another system gives, such as the ID of a virtual machine: no blanks, and not empty unless that means absent. */
export const identifier = (write: string, { mayBeEmpty = false }: { readonly mayBeEmpty?: boolean } = {}): z.ZodString =>
  textWith(
    (text) => {
      if (text === "") return mayBeEmpty ? undefined : `is empty. ${write}`;
      return /^[\x21-\x7e]+$/.test(text) ? undefined : `${show(text)} has blanks or characters that no such name has. ${write}`;
    },
    { max: 512, missing: `is missing. ${write}` },
  );

export interface StatusCodes {
  readonly first: number;
  readonly last: number;
}

/** Reads "200" or "200-299", both ends included, each from 1 to 999; undefined for anything else. */
export function parseStatusCodes(text: string): StatusCodes | undefined {
  const [, first = "", last = first] = /^(\d{1,3})(?:-(\d{1,3}))?$/.exec(text) ?? [];
  const codes = { first: Number(first), last: Number(last) };
  return codes.first >= 1 && codes.first <= codes.last ? codes : undefined;
}

export const statusCodes = (): z.ZodString =>
  textWith(
    (text) =>
      parseStatusCodes(text) === undefined
        ? `${show(text)} is no status code. Write one from 1 to 999 in quotes, such as "200", or a range such as "200-299".`
        : undefined,
    { missing: 'is missing. Write a status code in quotes, such as "200", or a range such as "200-299".' },
  );
