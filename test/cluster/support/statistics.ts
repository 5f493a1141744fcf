/** Quantile of two-sided 99.9 % of the normal distribution. */
const Z_999 = 3.2905;

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** The interval in which the count of successes of `trials` draws with chance `share` lies in 99.9 % of all cases. */
export function binomialInterval(trials: number, share: number): readonly [low: number, high: number] {
  const width = Z_999 * Math.sqrt(trials * share * (1 - share));
  return [trials * share - width, trials * share + width];
}
