import assert from "node:assert/strict";
import { Cron as Croner } from "croner";
import fc from "fast-check";
import { type Cron, parseCron } from "../../../api/blocks/cron.ts";

function parsed(text: string): Cron {
  const result = parseCron(text);
  assert.ok(result.ok, JSON.stringify(result));
  return result.cron;
}

function problem(text: string): string {
  const result = parseCron(text);
  assert.ok(!result.ok, `${text} was read`);
  return result.problem;
}

/** The fields that are restricted. */
function restricted(text: string): object {
  const cron = parsed(text);
  assert.equal(cron.is, "calendar");
  if (cron.is !== "calendar") return {};
  const whole = { second: 60, minute: 60, hour: 24, dayOfMonth: 31, month: 12, dayOfWeek: 7 };
  return Object.fromEntries(
    Object.entries(cron).filter(([name, value]) => Array.isArray(value) && value.length < whole[name as keyof typeof whole]),
  );
}

describe("parseCron", () => {
  const rows: readonly (readonly [text: string, fields: object])[] = [
    ["* * * * *", { second: [0] }],
    ["* * * * * *", {}],
    ["? ? ? ? ?", { second: [0] }],
    ["  30 2 * * mon-FRI ", { second: [0], minute: [30], hour: [2], dayOfWeek: [1, 2, 3, 4, 5] }],
    ["*/30 0-10/5 10/6 jan,Dec ?", { second: [0], minute: [0, 30], hour: [0, 5, 10], dayOfMonth: [10, 16, 22, 28], month: [1, 12] }],
    ["5,1,5,2-3 * * * *", { second: [0], minute: [1, 2, 3, 5] }],
    ["0 0 31 2 *", { second: [0], minute: [0], hour: [0], dayOfMonth: [31], month: [2] }],
    ["@weekly", { second: [0], minute: [0], hour: [0], dayOfWeek: [0] }],
    ["@annually", { second: [0], minute: [0], hour: [0], dayOfMonth: [1], month: [1] }],
    ["TZ=Europe/Berlin @hourly", { second: [0], minute: [0] }],
    ["CRON_TZ=UTC\t0 4 * * *", { second: [0], minute: [0], hour: [4] }],
  ];
  for (const [text, fields] of rows) it(`reads ${JSON.stringify(text)}`, () => assert.deepEqual(restricted(text), fields));

  it("takes a step from a number to the end of the field, and a step from a star for a restriction", () => {
    assert.deepEqual(restricted("10/20 */6 1/10 * *"), {
      second: [0],
      minute: [10, 30, 50],
      hour: [0, 6, 12, 18],
      dayOfMonth: [1, 11, 21, 31],
    });
  });

  const days: readonly (readonly [text: string, eitherDay: boolean])[] = [
    ["0 0 1 * mon", true],
    ["0 0 1 * *", false],
    ["0 0 * * mon", false],
    ["0 0 ? * mon", false],
    ["0 0 */2 * mon", true],
    ["0 0 1-31 * mon", true],
    ["0 0 5,* * mon", false],
    ["0 0 */1 * mon", false],
  ];
  for (const [text, eitherDay] of days)
    it(`${eitherDay ? "lets either day match" : "wants both days to match"} in ${text}`, () => {
      const cron = parsed(text);
      assert.equal(cron.is === "calendar" && cron.eitherDay, eitherDay);
    });

  const everies: readonly (readonly [text: string, everyMs: number])[] = [
    ["@every 1h30m", 5_400_000],
    ["@every 1.5s", 1_000],
    ["@every 10ms", 1_000],
    ["@every -5m", 1_000],
  ];
  for (const [text, everyMs] of everies)
    it(`reads ${text} as ${everyMs} ms`, () => assert.deepEqual(parsed(text), { is: "every", everyMs, zone: undefined }));

  it("keeps the zone", () => {
    assert.equal(parsed("CRON_TZ=America/New_York 0 4 * * *").zone, "America/New_York");
    assert.equal(parsed("0 4 * * *").zone, undefined);
  });

  const wrong: readonly (readonly [text: string, message: RegExp])[] = [
    ["", /^is empty/],
    ["   ", /^is empty/],
    ["* * *", /has 3 fields, not 5, or 6/],
    ["* * * * * * *", /has 7 fields/],
    ["60 * * * *", /"60" is no minute. Write 0 to 59\./],
    ["* 24 * * *", /"24" is no hour/],
    ["* * 0 * *", /"0" is no day of month. Write 1 to 31/],
    ["* * * juli *", /"juli" is no month. Write 1 to 12 or jan to dec. Did you mean "jul"\?/],
    ["* * * * 7", /"7" is no day of week. Write 0 to 6 or sun to sat\./],
    ["5-1 * * * *", /"5-1": the range of the minute ends before it begins/],
    ["*/0 * * * *", /the step of the minute is 0/],
    ["*-5 * * * *", /a range has a number on either side/],
    ["1,,2 * * * *", /"" cannot stand for the minute/],
    ["1/2/3 * * * *", /"1\/2\/3" cannot stand for the minute/],
    ["* * L * *", /"L" is no day of month/],
    ["* * 1W * *", /"1W" is no day of month/],
    ["* * * * mon#2", /"mon#2" is no day of week/],
    ["H * * * *", /"H" is no minute/],
    ["-1 * * * *", /"-1" cannot stand for the minute/],
    ["@reboot", /is none of @yearly, .*@every/],
    ["@Daily", /is none of .* Did you mean "@daily"\?/],
    ["@every", /is none of/],
    ["@every 5", /"5" is no duration/],
    ["@every 1d", /"1d" is no duration/],
    ["TZ=Europe/Berlin", /has a time zone and says nothing of when/],
    ["TZ=", /"" is no time zone/],
    ["TZ=Europe/Berln 0 4 * * *", /"Europe\/Berln" is no time zone. Write one of the IANA names/],
    ["TZ=+02:00 0 4 * * *", /"\+02:00" is no time zone/],
    ["TZ=Local 0 4 * * *", /"Local" is no time zone/],
    ["0 TZ=UTC 4 * * *", /is no minute|cannot stand/],
    ["x".repeat(600), /is longer than 512 characters/],
  ];
  for (const [text, message] of wrong) it(`refuses ${JSON.stringify(text).slice(0, 40)}`, () => assert.match(problem(text), message));

  it("tells of every field that is wrong", () => assert.match(problem("61 25 * * *"), /"61" is no minute.* "25" is no hour/));

  const numbers = (least: number, most: number): fc.Arbitrary<string> =>
    fc.oneof(
      fc.constant("*"),
      fc.integer({ min: least, max: most }).map(String),
      fc
        .tuple(fc.integer({ min: least, max: most }), fc.integer({ min: least, max: most }))
        .map((two) => `${Math.min(...two)}-${Math.max(...two)}`),
      fc.integer({ min: 2, max: Math.min(most, 20) }).map((step) => `*/${step}`),
      fc.uniqueArray(fc.integer({ min: least, max: most }), { minLength: 1, maxLength: 4 }).map((list) => list.join(",")),
    );
  const expression = fc
    .tuple(numbers(0, 59), numbers(0, 23), numbers(1, 28), numbers(1, 12), numbers(0, 6))
    .map((fields) => fields.join(" "));

  it("means the same moments as croner, where both have the grammar", () => {
    fc.assert(
      fc.property(
        expression,
        fc.date({ min: new Date("2026-01-01T00:00:00Z"), max: new Date("2030-01-01T00:00:00Z"), noInvalidDate: true }),
        (text, from) => {
          const cron = parsed(text);
          assert.ok(cron.is === "calendar");
          const theirs = new Croner(text, { paused: true, timezone: "UTC", mode: "5-part" }).nextRun(from);
          assert.equal(nextMatch(cron, from)?.toISOString(), theirs?.toISOString());
        },
      ),
      { numRuns: 200 },
    );
  });

  it("answers any text at once, with a moment or a short message", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ maxLength: 600 }),
          fc.array(fc.constantFrom("*", "/", "-", ",", "1", "59", " ", "mon", "@every", "TZ=", "?")).map((parts) => parts.join("")),
        ),
        (text) => {
          const result = parseCron(text);
          assert.ok(result.ok || (result.problem.length > 0 && result.problem.length < 1_000 && !/\p{Cc}/u.test(result.problem)));
        },
      ),
    );
  });
});

/** The first minute after `from`, in UTC, that the expression means: every day is asked, then hours and minutes are looked up. */
function nextMatch(cron: Extract<Cron, { readonly is: "calendar" }>, from: Date): Date | undefined {
  const start = new Date(from);
  for (let day = 0; day < 366 * 8; day++) {
    const midnight = new Date(Date.UTC(start.getUTCFullYear(), start.getUTCMonth(), start.getUTCDate() + day));
    const isDay = cron.dayOfMonth.includes(midnight.getUTCDate());
    const isWeekday = cron.dayOfWeek.includes(midnight.getUTCDay());
    if (!cron.month.includes(midnight.getUTCMonth() + 1) || !(cron.eitherDay ? isDay || isWeekday : isDay && isWeekday)) continue;
    for (const hour of cron.hour) {
      for (const minute of cron.minute) {
        const moment = new Date(midnight.getTime() + (hour * 60 + minute) * 60_000);
        if (moment > from) return moment;
      }
    }
  }
  return undefined;
}
