import type { z } from "zod";
import { parseDuration } from "../../common/duration.ts";
import { show, suggest } from "../text.ts";
import { textWith } from "./scalars.ts";
import { isTimeZone } from "./time-window.ts";

/** When a Schedule is due: the cron grammar of Chaos Mesh (github.com/robfig/cron 3), no more and no less. */
export type Cron =
  | { readonly is: "every"; readonly everyMs: number; readonly zone: string | undefined }
  | {
      readonly is: "calendar";
      /** Sorted; each of the numbers that the field allows. */
      readonly second: readonly number[];
      readonly minute: readonly number[];
      readonly hour: readonly number[];
      readonly dayOfMonth: readonly number[];
      readonly month: readonly number[];
      readonly dayOfWeek: readonly number[];
      /** Both days are restricted: then either may match, otherwise both must. */
      readonly eitherDay: boolean;
      /** IANA name; undefined for the zone of whoever asks. */
      readonly zone: string | undefined;
    };

export type CronResult = { readonly ok: true; readonly cron: Cron } | { readonly ok: false; readonly problem: string };

interface Field {
  readonly name: string;
  readonly least: number;
  readonly most: number;
  readonly words?: readonly string[];
}

const months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const weekdays = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const fields = {
  second: { name: "second", least: 0, most: 59 },
  minute: { name: "minute", least: 0, most: 59 },
  hour: { name: "hour", least: 0, most: 23 },
  dayOfMonth: { name: "day of month", least: 1, most: 31 },
  month: { name: "month", least: 1, most: 12, words: months },
  dayOfWeek: { name: "day of week", least: 0, most: 6, words: weekdays },
} as const satisfies Readonly<Record<string, Field>>;

const descriptors: Readonly<Record<string, string>> = {
  "@yearly": "0 0 0 1 1 *",
  "@annually": "0 0 0 1 1 *",
  "@monthly": "0 0 0 1 * *",
  "@weekly": "0 0 0 * * 0",
  "@daily": "0 0 0 * * *",
  "@midnight": "0 0 0 * * *",
  "@hourly": "0 0 * * * *",
};

const LONGEST = 512;
const HELP = 'Write minute, hour, day of month, month and day of week, such as "30 2 * * mon-fri", or "@every 1h".';

export function parseCron(text: string): CronResult {
  if (text.length > LONGEST) return no(`is longer than ${LONGEST} characters.`);
  const prefixed = /^(?:CRON_)?TZ=(\S*)(?:\s+(.*))?$/s.exec(text.trim());
  const [zone, when = ""] = prefixed ? [prefixed[1] ?? "", prefixed[2] ?? ""] : [undefined, text.trim()];
  if (zone !== undefined && !isZone(zone))
    return no(`${show(text)}: ${show(zone)} is no time zone. Write one of the IANA names, such as "Europe/Berlin".`);
  if (when === "") return no(prefixed ? `${show(text)} has a time zone and says nothing of when. ${HELP}` : `is empty. ${HELP}`);
  if (when.startsWith("@")) return parseDescriptor(text, when, zone);
  const parts = when.split(/\s+/);
  if (parts.length !== 5 && parts.length !== 6)
    return no(`${show(text)} has ${parts.length} ${parts.length === 1 ? "field" : "fields"}, not 5, or 6 with the seconds first. ${HELP}`);
  return parseFields(text, parts.length === 5 ? ["0", ...parts] : parts, zone);
}

const no = (problem: string): CronResult => ({ ok: false, problem });

/** Names alone: `Intl` also takes offsets such as +02:00, which Go and the tz database do not know. */
const isZone = (zone: string): boolean => /^[A-Za-z][A-Za-z0-9_+/-]{0,63}$/.test(zone) && isTimeZone(zone);

function parseDescriptor(text: string, when: string, zone: string | undefined): CronResult {
  const calendar = descriptors[when];
  if (calendar !== undefined) return parseFields(text, calendar.split(" "), zone);
  const [, every] = /^@every\s+(.*)$/s.exec(when) ?? [];
  if (every === undefined)
    return no(
      `${show(text)} is none of ${[...Object.keys(descriptors), "@every"].join(", ")}.${suggest(when, [...Object.keys(descriptors), "@every"])}`,
    );
  const nanoseconds = parseDuration(every);
  if (nanoseconds === undefined) return no(`${show(text)}: ${show(every)} is no duration. Write one such as "@every 1h30m".`);
  const seconds = nanoseconds / 1_000_000_000n;
  return { ok: true, cron: { is: "every", everyMs: Number(seconds < 1n ? 1n : seconds) * 1000, zone } };
}

function parseFields(text: string, parts: readonly string[], zone: string | undefined): CronResult {
  const [second, minute, hour, dayOfMonth, month, dayOfWeek] = Object.values(fields).map((field, index) =>
    parseField(parts[index] ?? "", field),
  );
  if (!second || !minute || !hour || !dayOfMonth || !month || !dayOfWeek) throw new Error("A cron expression has six fields.");
  const problems = [second, minute, hour, dayOfMonth, month, dayOfWeek].flatMap((field) => field.problem ?? []);
  if (problems.length > 0) return no(`${show(text)}: ${problems.join(" ")}`);
  return {
    ok: true,
    cron: {
      is: "calendar",
      second: second.numbers,
      minute: minute.numbers,
      hour: hour.numbers,
      dayOfMonth: dayOfMonth.numbers,
      month: month.numbers,
      dayOfWeek: dayOfWeek.numbers,
      eitherDay: !dayOfMonth.isOpen && !dayOfWeek.isOpen,
      zone,
    },
  };
}

interface ParsedField {
  readonly numbers: readonly number[];
  /** Has `*` or `?` without a step, which leaves the field unrestricted. */
  readonly isOpen: boolean;
  readonly problem?: string;
}

const broken = (problem: string): ParsedField => ({ numbers: [], isOpen: false, problem });

function parseField(text: string, field: Field): ParsedField {
  const ranges = text.split(",").map((range) => parseRange(range, field));
  const problem = ranges.find((range) => range.problem !== undefined);
  if (problem) return problem;
  return {
    numbers: [...new Set(ranges.flatMap(({ numbers }) => numbers))].toSorted((a, b) => a - b),
    isOpen: ranges.some(({ isOpen }) => isOpen),
  };
}

/** One of: star, `a`, `a-b`, each with `/n` or without; `a/n` goes on to the end of the field. */
function parseRange(text: string, field: Field): ParsedField {
  const { name, least, most } = field;
  const [, low = "", high, step] = /^([^-/]+)(?:-([^-/]+))?(?:\/(\d{1,9}))?$/.exec(text) ?? [];
  if (low === "") return broken(`${show(text)} cannot stand for the ${name}. Write *, numbers, ranges such as 1-5, or steps such as */5.`);
  const isStar = low === "*" || low === "?";
  if (isStar && high !== undefined) return broken(`${show(text)} cannot stand for the ${name}: a range has a number on either side.`);
  const first = isStar ? least : parseNumber(low, field);
  const last = isStar ? most : high === undefined ? (step === undefined ? first : most) : parseNumber(high, field);
  if (first === undefined || last === undefined) {
    const wrong = first === undefined ? low : (high ?? "");
    const words = field.words ? ` or ${field.words[0] ?? ""} to ${field.words.at(-1) ?? ""}` : "";
    return broken(`${show(wrong)} is no ${name}. Write ${least} to ${most}${words}.${field.words ? suggest(wrong, field.words) : ""}`);
  }
  if (first > last) return broken(`${show(text)}: the range of the ${name} ends before it begins.`);
  const by = step === undefined ? 1 : Number(step);
  if (by === 0) return broken(`${show(text)}: the step of the ${name} is 0. Write at least 1.`);
  const numbers = Array.from({ length: Math.floor((last - first) / by) + 1 }, (_, index) => first + index * by);
  return { numbers, isOpen: isStar && by === 1 };
}

function parseNumber(text: string, { least, most, words = [] }: Field): number | undefined {
  const word = words.indexOf(text.toLowerCase());
  const number = word >= 0 ? word + least : /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  return number >= least && number <= most ? number : undefined;
}

export const cron = (): z.ZodString =>
  textWith(
    (text) => {
      const parsed = parseCron(text);
      return parsed.ok ? undefined : parsed.problem;
    },
    { max: LONGEST, missing: `is missing. ${HELP}` },
  );
