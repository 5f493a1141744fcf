import { z } from "zod";
import { parseDurationMs } from "./duration.ts";
import { logLevels } from "./log.ts";

/** Everything wrong with a process's environment, one line per variable. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** Kinds of values a variable may hold. */
export const value = {
  text: () => z.string().min(1),
  port: () => z.coerce.number().int().min(1).max(65_535),
  count: () => z.coerce.number().int().min(0),
  flag: () => z.enum(["true", "false"]).transform((text) => text === "true"),
  /** A Go duration, read as milliseconds; above zero. */
  durationMs: () =>
    z.string().transform((text, context) => {
      const ms = parseDurationMs(text);
      if (ms !== undefined && ms > 0) return ms;
      context.addIssue({ code: "custom", message: `${JSON.stringify(text)} is no duration above zero. Write one such as "60s".` });
      return z.NEVER;
    }),
  logLevel: () => z.enum(logLevels),
  /** Values separated by commas; none at all for the empty string. */
  list: () =>
    z.string().transform((text) =>
      text
        .split(",")
        .map((part) => part.trim())
        .filter((part) => part !== ""),
    ),
};

/**
 * Reads a typed configuration from environment variables: key `logLevel` comes from `SQUALL_LOG_LEVEL`.
 * An empty variable counts as absent. Throws one ConfigError that names every mistake.
 */
export function readConfig<S extends z.ZodRawShape>(shape: S, environment: NodeJS.ProcessEnv): Readonly<z.output<z.ZodObject<S>>> {
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
