import type { ValiditySpan } from "./renewal.ts";
import { renewAt } from "./renewal.ts";

/** A CA in store; `id` tells it from the others. */
export interface StoredAuthority extends ValiditySpan {
  readonly id: string;
}

/** What to do with the CAs in store now. */
export interface RotationPlan {
  /** Those that verifiers must know, in order of age; the others are to be removed. */
  readonly trusted: readonly string[];
  /** The one that signs; undefined only when there is none that could. */
  readonly signer: string | undefined;
  /** Whether a new one is to be made. */
  readonly isNewOneDue: boolean;
}

export interface RotationRules {
  readonly authorityLifetimeMs: number;
  /** How long a new CA is only published before it signs: every verifier must have read it by then. */
  readonly publishMs: number;
  /** Life of a certificate that a CA signs: so long an old CA stays trusted. */
  readonly leafLifetimeMs: number;
  /** For clocks and for work under way: so much longer. */
  readonly marginMs: number;
  /** What nobody told us about, such as a `caBundle` that somebody emptied, is repaired after so long. */
  readonly visitEveryMs: number;
}

const HOUR_MS = 3_600_000;

/** Agents read the CAs at each renewal, which comes within a day. */
export const ROTATION_RULES: RotationRules = {
  authorityLifetimeMs: 365 * 24 * HOUR_MS,
  publishMs: 24 * HOUR_MS,
  leafLifetimeMs: 24 * HOUR_MS,
  marginMs: HOUR_MS,
  visitEveryMs: 30_000,
};

/**
 * Rotates a CA without a moment in which anybody is not believed. Pure: the same store at the same moment gives the same plan.
 *
 * | newest CA                   | trusted    | signs  |
 * | --------------------------- | ---------- | ------ |
 * | the only one                | it         | it     |
 * | younger than `publishMs`    | both       | old    |
 * | older than that             | both       | new    |
 * | signs for a leaf's lifetime | new        | new    |
 * | half of its life is over    | all + next | as was |
 */
export function planRotation(stored: readonly StoredAuthority[], now: Date, rules: RotationRules = ROTATION_RULES): RotationPlan {
  const nowMs = now.getTime();
  const valid = stored
    .filter(({ notAfter }) => notAfter.getTime() > nowMs)
    .toSorted((one, other) => one.notBefore.getTime() - other.notBefore.getTime());
  const published = valid.filter(({ notBefore }) => nowMs - notBefore.getTime() >= rules.publishMs);
  const signer = published.at(-1) ?? valid.at(0);
  const newest = valid.at(-1);
  const isOldNeeded = signer === undefined || nowMs - signer.notBefore.getTime() < rules.publishMs + rules.leafLifetimeMs + rules.marginMs;
  const trusted = isOldNeeded ? valid : valid.slice(valid.indexOf(signer));
  return {
    trusted: trusted.map(({ id }) => id),
    signer: signer?.id,
    isNewOneDue: newest === undefined || nowMs >= renewAt(newest).getTime(),
  };
}
