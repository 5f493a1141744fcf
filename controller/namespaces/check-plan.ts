/** What a check of a namespace depends on, as text to compare. */
export interface Fingerprint {
  /** Labels of Pod Security, settings of the sidecar, and the rules of quotas and limit ranges. */
  readonly rules: string;
  /** How much of the quotas is used. */
  readonly usage: string;
}

/** The last check of a namespace that came to an end. */
export interface LastCheck {
  readonly fingerprint: Fingerprint;
  readonly atMs: number;
  /** Whether the same rules were checked before. */
  readonly isConfirmed: boolean;
  /** Whether something is not known. */
  readonly isOpen: boolean;
}

const AFTER_RULES_MS = 1_000;
/** Usage changes with each pod that comes or goes. */
const AFTER_USAGE_MS = 5_000;
/** API servers hold some LimitRanges that they looked up for 30 s, and others hear of a change later than this process. */
const CONFIRM_MS = 35_000;
const OPEN_MS = 60_000;
const EVERY_MS = 10 * 60_000;

/**
 * Milliseconds until the next check is due, 0 for now. First match wins:
 *
 * | found                     | checked again after |
 * | ------------------------- | ------------------- |
 * | never checked             | at once             |
 * | other rules               | 1 s                 |
 * | other usage               | 5 s                 |
 * | these rules once only     | 35 s                |
 * | something is not known    | 1 min               |
 * | otherwise                 | 10 min              |
 */
export function planCheck(last: LastCheck | undefined, { rules, usage }: Fingerprint, nowMs: number): number {
  if (last === undefined) return 0;
  const after =
    last.fingerprint.rules !== rules
      ? AFTER_RULES_MS
      : last.fingerprint.usage !== usage
        ? AFTER_USAGE_MS
        : !last.isConfirmed
          ? CONFIRM_MS
          : last.isOpen
            ? OPEN_MS
            : EVERY_MS;
  return Math.max(0, last.atMs + after - nowMs);
}
