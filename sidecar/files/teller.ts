import type { Refusal } from "../../agent/plan.ts";
import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import type { FileServers } from "./file-servers.ts";
import type { ServedFault } from "./server-messages.ts";
import { within } from "./within.ts";

/** Tells servers of their faults and remembers what may be in force. */
export interface Teller {
  /** Volumes with faults that may be in force. */
  readonly volumes: readonly string[];
  /** Faults of a volume that may be in force. */
  idsOf(volume: string): readonly string[];
  /** Moves a volume to exactly these faults; resolves with those that are not in force, and with earlier ones that may still be. */
  tell(volume: string, faults: readonly ServedFault[]): Promise<readonly Refusal[]>;
}

/** Faults of the network wait while a server does not answer. */
const RULE_WITHIN_MS = 3_000;
/** A server counts from the arrival of a message, which may have been under way. */
const UNDER_WAY_MS = 1_000;

export function createTeller({
  servers,
  clock,
  log,
}: {
  readonly servers: Pick<FileServers, "state" | "rule">;
  readonly clock: Clock;
  readonly log: Log;
}): Teller {
  /** Of each volume the ids and until when, in monotonic milliseconds: a server ends each fault by itself then. */
  const told = new Map<string, ReadonlyMap<string, number>>();

  function remember(volume: string, ends: ReadonlyMap<string, number>): void {
    const left = new Map([...ends].filter(([, untilMs]) => untilMs > clock.monotonicMs()));
    if (left.size === 0) told.delete(volume);
    else told.set(volume, left);
  }

  return {
    get volumes() {
      for (const [volume, ends] of [...told]) remember(volume, ends);
      return [...told.keys()];
    },
    idsOf: (volume) => [...(told.get(volume)?.keys() ?? [])],
    async tell(volume, faults) {
      const before = told.get(volume) ?? new Map<string, number>();
      const left = faults.filter(({ remainingMs }) => remainingMs > 0);
      const now = new Map(left.map(({ id, remainingMs }) => [id, clock.monotonicMs() + remainingMs + UNDER_WAY_MS]));
      const ruling = servers.rule(volume, left);
      if (servers.state().get(volume)?.is !== "serving") {
        // No server runs, so nothing is in force. The next one begins with these faults, and its start brings the next visit.
        ruling.catch((error: unknown) => log.debug({ err: error, volume }, "faults wait for the server of their volume"));
        remember(volume, now);
        return [];
      }
      try {
        await within(RULE_WITHIN_MS, ruling, clock);
        remember(volume, now);
        return [];
      } catch (error) {
        log.warn({ err: error, volume }, "the server of a volume did not take its faults");
        remember(volume, new Map([...before, ...now].map(([id, untilMs]) => [id, Math.max(untilMs, before.get(id) ?? 0)])));
        const message = `The server of volume ${volume} did not take its faults: ${error instanceof Error ? error.message : String(error)}`;
        const stuck = [...(told.get(volume)?.keys() ?? [])].filter((id) => !faults.some((fault) => fault.id === id));
        return [
          ...faults.map(({ id }) => ({ faultId: id, reason: "ApplyFailed", message, isTransient: true })),
          ...stuck.map((id) => ({ faultId: id, reason: "RecoverFailed", message, isTransient: true })),
        ];
      }
    },
  };
}
