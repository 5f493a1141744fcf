/** One more figure of a run that should stay what it was. */
export interface Sample {
  readonly cycle: number;
  readonly value: number;
}

/** By how much a value grows in 1,000 cycles: the slope of the straight line with the least squares. 0 for fewer than two samples. */
export function slopePerThousand(samples: readonly Sample[]): number {
  const mean = (valueOf: (sample: Sample) => number): number => samples.reduce((sum, sample) => sum + valueOf(sample), 0) / samples.length;
  const [x, y] = [mean(({ cycle }) => cycle), mean(({ value }) => value)];
  const spread = samples.reduce((sum, { cycle }) => sum + (cycle - x) ** 2, 0);
  if (spread === 0 || samples.length < 2) return 0;
  return (1_000 * samples.reduce((sum, { cycle, value }) => sum + (cycle - x) * (value - y), 0)) / spread;
}

/** The smallest value that this share of all values does not exceed; NaN for none. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}
