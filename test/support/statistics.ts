export const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Of a whole population, as all of it was measured. */
export const standardDeviation = (values: readonly number[]): number => {
  const middle = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - middle) ** 2)));
};

/** NaN for none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** How far the successes of `trials` draws with chance `share` lie from the expected count in 99.9 % of all cases, at most. */
export const binomialMargin = (trials: number, share: number): number => 3.29 * Math.sqrt(trials * share * (1 - share)) + 0.5;
