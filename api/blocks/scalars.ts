import * as z from "zod";
import { parseDuration } from "../../common/duration.ts";
import { show } from "../text.ts";

/** Texts with a grammar. Each `problem…` function says what is wrong with a text and what to write instead. */

const LONGEST_TEXT = 1024;

type Problem = (text: string) => string | undefined;

interface TextOptions {
  readonly max?: number;
  /** What to say where there is no text at all: "is missing. Write …". */
  readonly missing?: string;
}

/** A string of at most 1,024 characters that `problem` finds nothing wrong with. */
export function textWith(problem: Problem, { max = LONGEST_TEXT, missing }: TextOptions = {}): z.ZodString {
  return z
    .string({ error: ({ input }) => (input === undefined ? missing : undefined) })
    .max(max)
    .check((context) => {
      if (context.value.length > max) return;
      const message = problem(context.value);
      if (message !== undefined) context.issues.push({ code: "custom", message, input: context.value, continue: true });
    });
}

/** The grammar of Go durations, for the API server; that the number fits is left to the webhook. */
const UNSIGNED_DURATION = "(0|(([0-9]+\\.?[0-9]*|\\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)";
const DURATION_PATTERN = `^([+-]?${UNSIGNED_DURATION})?$`;
const WAIT_PATTERN = `^[+]?${UNSIGNED_DURATION}$`;

export const problemWithDuration: Problem = (text) => {
  if (parseDuration(text) !== undefined) return undefined;
  if (/^[+-]?\d+(\.\d+)?$/.test(text))
    return `${show(text)} has no unit. Write a duration such as "${text.slice(0, 9)}ms" or "${text.slice(0, 9)}s".`;
  const [, sign = "", days] = /^([+-]?)(\d+)d$/.exec(text) ?? [];
  if (days !== undefined)
    return `${show(text)}: days are no unit of a duration. Write hours, such as "${sign}${Math.min(Number(days) * 24, 99_999)}h".`;
  if (text.length > 0 && text.length < 200 && new RegExp(DURATION_PATTERN).test(text))
    return `${show(text)} is longer than a duration can be, which is 292 years. Write a shorter one.`;
  return `${show(text)} is no duration. Write numbers with the units ns, us, ms, s, m or h, such as "200ms" or "1h30m".`;
};

/** Go duration or the empty text, as Chaos Mesh accepts it; negative is allowed and means: over at once. */
export const durationOrEmpty = (): z.ZodString =>
  textWith((text) => (text === "" ? undefined : problemWithDuration(text))).meta({ pattern: DURATION_PATTERN });

const problemWithWait: Problem = (text) =>
  problemWithDuration(text) ??
  (text.startsWith("-") ? `${show(text)} is negative, and nothing can be early. Write ${show(text.slice(1, 50))}.` : undefined);

/** How long something is held up: a Go duration of 0 or more. */
export const wait = ({ missing }: Pick<TextOptions, "missing"> = {}): z.ZodString =>
  textWith(problemWithWait, missing === undefined ? {} : { missing }).meta({ pattern: WAIT_PATTERN });

/** The same, where the empty text stands for none. */
export const waitOrEmpty = (): z.ZodString =>
  textWith((text) => (text === "" ? undefined : problemWithWait(text))).meta({ pattern: `^$|${WAIT_PATTERN}` });

/** A Go duration in either direction. */
export const offset = (options: Pick<TextOptions, "missing">): z.ZodString =>
  textWith((text) => problemWithDuration(text) ?? problemWithDistance(text), options).meta({ pattern: `^[+-]?${UNSIGNED_DURATION}$` });

/** Clocks count in 34 bits of seconds where they are shifted. */
const FARTHEST_SECONDS = 2n ** 33n - 1n;

function problemWithDistance(text: string): string | undefined {
  const ns = parseDuration(text) ?? 0n;
  const isFar = ns / 1_000_000_000n > FARTHEST_SECONDS || ns / 1_000_000_000n < -FARTHEST_SECONDS;
  return isFar ? `${show(text)} is farther than any clock can be shifted. Write at most "2380000h", some 271 years.` : undefined;
}

const LONGEST_LATENCY_NS = 3_600_000_000_000n;

/** One number and one unit: the pattern of Chaos Mesh's schema, which is narrower than a Go duration. At most an hour. */
export const LATENCY_PATTERN = "^[0-9]+(\\.[0-9]+)?(ns|us|ms|s|m|h)$";
const LATENCY = new RegExp(LATENCY_PATTERN);
export const latency = (): z.ZodString =>
  textWith((text) => {
    const problem = problemWithDuration(text);
    if (problem !== undefined) return problem;
    if (!LATENCY.test(text)) return `${show(text)} must be one number and one unit. Write it as one, such as "1500ms" for "1s500ms".`;
    return (parseDuration(text) ?? 0n) > LONGEST_LATENCY_NS ? `${show(text)} is longer than an hour. Write at most "1h".` : undefined;
  }).meta({ pattern: LATENCY_PATTERN });

const FLOAT = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$/;

/** Reads a number from 0 to 100, without a percent sign; undefined for anything else. */
export function parsePercent(text: string): number | undefined {
  const percent = FLOAT.test(text) ? Number(text) : Number.NaN;
  return percent >= 0 && percent <= 100 ? percent : undefined;
}

/** A number between 0 and 100, written as text and without a percent sign. */
export const percentText = (): z.ZodString =>
  textWith((text) => {
    if (/^[^%]+%$/.test(text)) return `${show(text)}: leave the percent sign out. Write ${show(text.slice(0, -1))}.`;
    if (!FLOAT.test(text)) return `${show(text)} is no number. Write a percentage from 0 to 100, such as "25".`;
    return parsePercent(text) !== undefined ? undefined : `${show(text)} is outside 0 to 100. Write a percentage such as "25".`;
  });

/** Bits per second of each unit; the `bps` family counts bytes, as tc does. */
const RATE_UNITS: Readonly<Record<string, bigint>> = {
  kbit: 1_000n,
  mbit: 1_000_000n,
  gbit: 1_000_000_000n,
  tbit: 1_000_000_000_000n,
  tbps: 8_000_000_000_000n,
  gbps: 8_000_000_000n,
  mbps: 8_000_000n,
  kbps: 8_000n,
  bps: 8n,
  bit: 1n,
};

/** Bits per second of a rate such as "1mbps" (a megabyte) or "1mbit", or undefined for anything else. Case and blanks around do not matter. */
export function parseRate(text: string): bigint | undefined {
  const match = /^(\d{1,20})\s*([a-z]+)$/.exec(text.trim().toLowerCase());
  const scale = RATE_UNITS[match?.[2] ?? ""];
  if (!match || scale === undefined) return undefined;
  const amount = BigInt(match[1] ?? "0");
  return amount < 2n ** 64n ? amount * scale : undefined;
}

export const rate = (): z.ZodString =>
  textWith((text) =>
    parseRate(text) === undefined
      ? `${show(text)} is no rate. Write a whole number and a unit: bit, kbit, mbit, gbit, tbit for bits, bps, kbps, mbps, gbps, tbps for bytes per second, such as "10mbit".`
      : undefined,
  );

const DNS_LABEL = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;

/** Lower-case name of DNS labels joined by dots, as Kubernetes names most objects; at most 253 characters. */
export function isDnsSubdomain(text: string): boolean {
  return text.length <= 253 && text.split(".").every((part) => part.length <= 63 && DNS_LABEL.test(part));
}

const problemWithDnsLabel = (text: string, what: string): string | undefined =>
  text.length <= 63 && DNS_LABEL.test(text)
    ? undefined
    : `${show(text)} cannot be the name of ${what}. Write lower-case letters, digits and "-", at most 63.`;

/** A name without dots, of a thing called `what`: "a namespace", "a container". */
export const dnsLabel = (what: string, options: Pick<TextOptions, "missing"> = {}): z.ZodString =>
  textWith((text) => problemWithDnsLabel(text, what), options);

export const problemWithNamespace: Problem = (text) => problemWithDnsLabel(text, "a namespace");

export const namespaceName = (): z.ZodString => textWith(problemWithNamespace);

export const objectName = (options: Pick<TextOptions, "missing"> = {}): z.ZodString =>
  textWith(
    (text) =>
      isDnsSubdomain(text)
        ? undefined
        : `${show(text)} cannot be the name of an object. Write lower-case letters, digits, "-" and ".", at most 253.`,
    options,
  );

const LABEL_PART = /^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$/;

/** See https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set. */
export function isLabelKey(text: string): boolean {
  const slash = text.indexOf("/");
  const name = slash < 0 ? text : text.slice(slash + 1);
  return (slash < 0 || isDnsSubdomain(text.slice(0, slash))) && name.length <= 63 && LABEL_PART.test(name);
}

export const isLabelValue = (text: string): boolean => text === "" || (text.length <= 63 && LABEL_PART.test(text));

export const labelValue = (): z.ZodString =>
  textWith((text) =>
    isLabelValue(text)
      ? undefined
      : `${show(text)} cannot be the value of a label. Write letters, digits, "-", "_" and ".", beginning and ending with a letter or digit, at most 63.`,
  );

export const labelKey = (): z.ZodString =>
  textWith((text) =>
    isLabelKey(text) ? undefined : `${show(text)} cannot be the key of a label. Write one such as "app" or "example.com/tier".`,
  );
