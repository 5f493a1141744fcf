import * as z from "zod/mini";
import { parseDurationMs } from "./duration.ts";
import { logLevels } from "./log.ts";

/** Everything wrong with a process's environment, one line per variable. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** Kinds of values a variable may hold. An empty variable counts as absent, so no kind sees an empty text. */
export const value = {
  text: () => z.string(),
  port: () => parsed(port, "is no port. Write a number from 1 to 65535"),
  /** Ports separated by commas, at least one: where there may be none, write `or`. */
  ports: () => parsed(portList, "is no list of ports. Write one such as 8080,9000"),
  count: () => parsed(wholeNumber, "is no number of things. Write one such as 8"),
  flag: () =>
    z.pipe(
      oneOf(["true", "false"]),
      z.transform((text) => text === "true"),
    ),
  /** A Go duration, read as milliseconds; above zero. */
  durationMs: () => parsed(durationMs, 'is no duration above zero. Write one such as "60s"'),
  logLevel: () => oneOf(logLevels),
  /** One of these texts. */
  choice: <const T extends string>(known: readonly T[]) => oneOf(known),
  /** Values separated by commas, at least one: where there may be none, write `or`. */
  list: () => parsed(splitList, "is no list. Write one such as a,b"),
  /** JSON that `parse` makes something of; it throws or gives undefined for what is wrong. */
  json: <T>(parse: (found: unknown) => T | undefined, example: string) =>
    parsed((text) => parseJson(text, parse), `cannot be read. Write JSON such as ${example}`),
  /** This kind, and what a variable holds that is not set. */
  or: z._default,
};

/**
 * Reads a typed configuration from environment variables: key `logLevel` comes from `SQUALL_LOG_LEVEL`.
 * An empty variable counts as absent. Throws one ConfigError that names every mistake.
 */
export function readConfig<S extends z.core.$ZodShape>(shape: S, environment: NodeJS.ProcessEnv): Readonly<z.output<z.ZodMiniObject<S>>> {
  const found = Object.fromEntries(
    Object.keys(shape).flatMap((key) => {
      const text = environment[variableOf(key)];
      return text === undefined || text === "" ? [] : [[key, text]];
    }),
  );
  const result = z.object(shape).safeParse(found);
  if (result.success) return result.data;
  const lines = result.error.issues.map((issue) => {
    const key = String(issue.path[0]);
    const why = key in found ? issue.message : "is not set.";
    return `${variableOf(key)}: ${why}`;
  });
  throw new ConfigError(`The configuration has ${lines.length === 1 ? "a mistake" : `${lines.length} mistakes`}.\n${lines.join("\n")}`);
}

function variableOf(key: string): string {
  return `SQUALL_${key.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

type Context = Parameters<Parameters<typeof z.transform>[0]>[1];

/** Notes what is wrong with a variable's text. */
function refuse(context: Context, text: string, why: string): never {
  context.issues.push({ code: "custom", input: text, message: `${JSON.stringify(text)} ${why}.` });
  return z.NEVER;
}

/** Text that `parse` makes something of; undefined means that it is wrong. */
const parsed = <T>(parse: (text: string) => T | undefined, why: string) =>
  z.pipe(
    z.string(),
    z.transform((text, context): T => parse(text) ?? refuse(context, text, why)),
  );

const oneOf = <const T extends string>(known: readonly T[]) =>
  z.enum(known, { error: ({ input }) => `${JSON.stringify(input)} is none of ${known.join(", ")}.` });

function splitList(text: string): readonly string[] | undefined {
  const parts = text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
  return parts.length > 0 ? parts : undefined;
}

function parseJson<T>(text: string, parse: (found: unknown) => T | undefined): T | undefined {
  try {
    return parse(JSON.parse(text));
  } catch {
    return undefined; // the message that is made of it says what to write
  }
}

const wholeNumber = (text: string): number | undefined => (/^\d{1,15}$/.test(text) ? Number(text) : undefined);

function port(text: string): number | undefined {
  const found = wholeNumber(text) ?? 0;
  return found >= 1 && found <= 65_535 ? found : undefined;
}

function portList(text: string): readonly number[] | undefined {
  const found = splitList(text)?.map(port);
  return found?.every((one) => one !== undefined) ? found : undefined;
}

function durationMs(text: string): number | undefined {
  const ms = parseDurationMs(text);
  return ms !== undefined && ms > 0 ? ms : undefined;
}
