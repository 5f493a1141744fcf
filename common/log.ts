import { pino } from "pino";

/** Levels in rising order of weight; see the section "Log and configuration" of CONTRIBUTING.md for what belongs where. */
export const logLevels = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof logLevels)[number];

/** Fields first, then a constant message. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  /** A log that adds these fields to each line. */
  child(fields: object): Log;
}

/** JSON lines on standard output; an `err` field is written with its stack and its causes. */
export function createLog({ process, level }: { readonly process: string; readonly level: LogLevel }): Log {
  return pino(
    { level, base: { process }, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: (label) => ({ level: label }) } },
    pino.destination({ dest: 1, sync: true }),
  );
}

const nothing = (): void => undefined;
/** Says nothing: for tests and for tools that speak to a person. */
export const silentLog: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing, child: () => silentLog };
