import * as z from "zod";
import { show, suggest } from "../text.ts";
import { textWith } from "./scalars.ts";

/** A stretch of the week in which something may happen. */

export const weekdays = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"] as const;
type Weekday = (typeof weekdays)[number];

const MINUTES_OF_DAY = 24 * 60;

/** Minutes since midnight of "09:30"; "24:00" is the end of the day. Undefined for anything else. */
function parseTimeOfDay(text: string): number | undefined {
  const [, hours = "", minutes = ""] = /^(\d{2}):([0-5]\d)$/.exec(text) ?? [];
  const total = Number(hours) * 60 + Number(minutes);
  return hours === "" || total > MINUTES_OF_DAY ? undefined : total;
}

const timeOfDay = (): z.ZodString =>
  textWith((text) =>
    parseTimeOfDay(text) === undefined ? `${show(text)} is no time of day. Write hours and minutes such as "09:30".` : undefined,
  );

export function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat("en", { timeZone: name }).format(0) !== "";
  } catch {
    return false; // a RangeError, which is how Intl says that it does not know the zone
  }
}

export const timeWindow = z.strictObject({
  days: z.array(z.enum(weekdays)).min(1).max(7).optional().describe("Days on which the window begins; every day by default."),
  from: timeOfDay().describe('When it begins, such as "09:00".'),
  to: timeOfDay().describe('When it ends, such as "17:00"; at or before from, on the next day.'),
  timeZone: textWith((text) =>
    isTimeZone(text)
      ? undefined
      : `${show(text)} is no time zone. Write a name of the IANA database such as "Europe/Berlin".${suggest(text, Intl.supportedValuesOf("timeZone"))}`,
  )
    .default("UTC")
    .describe("Time zone of from and to, by its name in the IANA database."),
});
export type TimeWindow = z.output<typeof timeWindow>;

/** Minutes that the window stays open from now, at most a day, or undefined while it is closed. A change of the clocks in between is not foreseen. */
export function minutesOpen({ days, from, to, timeZone }: TimeWindow, now: Date): number | undefined {
  const [begin, end] = [parseTimeOfDay(from) ?? 0, parseTimeOfDay(to) ?? 0];
  const { day, minute } = wallClock(now, timeZone);
  const isOn = (weekday: Weekday): boolean => days === undefined || days.includes(weekday);
  if (end > begin) return isOn(day) && minute >= begin && minute < end ? end - minute : undefined;
  if (isOn(day) && minute >= begin) return MINUTES_OF_DAY - minute + end;
  return isOn(dayBefore(day)) && minute < end ? end - minute : undefined;
}

function wallClock(now: Date, timeZone: string): { readonly day: Weekday; readonly minute: number } {
  const format = new Intl.DateTimeFormat("en-GB", { timeZone, weekday: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const parts = Object.fromEntries(format.formatToParts(now).map(({ type, value }) => [type, value]));
  const day = weekdays.find((weekday) => weekday === parts["weekday"]) ?? "Mon";
  return { day, minute: Number(parts["hour"]) * 60 + Number(parts["minute"]) };
}

const dayBefore = (day: Weekday): Weekday => weekdays[(weekdays.indexOf(day) + 6) % 7] ?? day;

/** "Mon Tue 09:00-17:00 Europe/Berlin", for people. */
export const describeWindow = ({ days, from, to, timeZone }: TimeWindow): string =>
  `${days ? `${days.join(" ")} ` : ""}${from}-${to} ${timeZone}`;
