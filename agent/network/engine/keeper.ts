import type { Clock } from "../../../common/clock.ts";
import type { Log } from "../../../common/log.ts";
import type { EngineRules, FaultCounters } from "./rules.ts";
import type { NfqueueEngine } from "./supervise.ts";

/**
 * Has one engine at most, from shortly before its first rules to a while after its last: its thread takes longer to start than all else of an
 * apply. While it has no rules it holds no queue and no packet.
 */
export interface EngineKeeper {
  /** Rules may come soon: has an engine started unless there is one. One that gets none is closed after a while. */
  warmUp(): void;
  /** Replaces all rules, see NfqueueEngine; undefined takes them away. Rejects when no engine can be started. */
  setRules(rules: EngineRules | undefined): Promise<void>;
  /** Empty while there are no rules. */
  readCounters(): Promise<ReadonlyMap<string, FaultCounters>>;
  /** Calls back with the reason when an engine that has rules ends by itself. */
  onDeath(callback: (reason: Error) => void): void;
  close(): Promise<void>;
}

interface Kept {
  readonly started: Promise<NfqueueEngine>;
}

/** How long an engine without rules is kept, in ms. */
export interface EngineRest {
  /** That never had any. */
  readonly unusedMs: number;
  readonly usedMs: number;
}

export function createEngineKeeper({
  start,
  clock,
  log,
  rest,
}: {
  readonly start: () => Promise<NfqueueEngine>;
  readonly clock: Clock;
  readonly log: Log;
  readonly rest: EngineRest;
}): EngineKeeper {
  let kept: Kept | undefined;
  /** The one that is kept, while it has rules. */
  let inUse: Kept | undefined;
  let cancelRest = (): void => undefined;
  let onDeath: (reason: Error) => void = () => undefined;

  function startOne(): Kept {
    const own: Kept = { started: start() };
    kept = own;
    own.started.then(
      (engine) => engine.onDeath((reason) => lose(own, reason)),
      (error: unknown) => lose(own, error instanceof Error ? error : new Error(String(error))),
    );
    return own;
  }

  /** Whoever needs an engine next starts another one, and hears why it cannot. */
  function lose(own: Kept, reason: Error): void {
    if (kept !== own) return;
    const hadRules = inUse === own;
    kept = undefined;
    inUse = undefined;
    log.debug({ err: reason }, "there is no network engine any more");
    if (hadRules) onDeath(reason);
  }

  /** The one that is kept, or a new one. */
  async function findOne(): Promise<readonly [Kept, NfqueueEngine]> {
    const found = kept;
    const engine = await found?.started.catch(() => undefined); // a second try tells why
    if (found !== undefined && engine !== undefined && kept === found) return [found, engine];
    const own = kept ?? startOne();
    return [own, await own.started];
  }

  function closeAfter(ms: number): void {
    cancelRest();
    cancelRest = clock.after(ms, () => void close());
  }

  async function clear(): Promise<void> {
    const cleared = inUse;
    if (cleared === undefined) return;
    inUse = undefined; // its death is nobody's loss from now on
    try {
      await (await cleared.started).clear();
      closeAfter(rest.usedMs);
    } catch (error) {
      log.warn({ err: error }, "the network engine could not be cleared and is closed");
      await close();
    }
  }

  async function close(): Promise<void> {
    const closing = kept;
    kept = undefined;
    inUse = undefined;
    cancelRest();
    const engine = await closing?.started.catch(() => undefined); // there is nothing to close
    await engine?.close();
  }

  return {
    warmUp() {
      if (kept !== undefined) return;
      startOne();
      closeAfter(rest.unusedMs);
    },
    async setRules(rules) {
      if (rules === undefined) return clear();
      cancelRest();
      const [own, engine] = await findOne();
      inUse = own;
      await engine.setRules(rules);
    },
    async readCounters() {
      return inUse === undefined ? new Map() : (await inUse.started).readCounters();
    },
    onDeath(callback) {
      onDeath = callback;
    },
    close,
  };
}
