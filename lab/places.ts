import { homedir } from "node:os";
import { join } from "node:path";

/** Where the lab keeps things on this machine. Everything it makes is below one of these folders. */
export interface Places {
  /** Outlives `down`: programs, the base image. Safe to delete at any time but during a build. */
  readonly cache: string;
  /** The running cluster; gone after `down`. */
  readonly state: string;
}

/** Reads the XDG variables, see https://specifications.freedesktop.org/basedir-spec/latest/. */
export function placesOf(environment: NodeJS.ProcessEnv): Places {
  const base = (variable: string, fallback: string): string => environment[variable] || join(environment["HOME"] || homedir(), fallback);
  return {
    cache: join(base("XDG_CACHE_HOME", ".cache"), "squall"),
    state: join(base("XDG_STATE_HOME", ".local/state"), "squall", "lab"),
  };
}
