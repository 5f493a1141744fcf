/** What a bench measured. Ratios taken within one run mean more than absolute figures, which are those of one machine. */
export interface BenchResult {
  readonly title: string;
  readonly rows: readonly BenchRow[];
  readonly notes: readonly string[];
}

export interface BenchRow {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What we aim for, in words: "≤ 0.5 ms". */
  readonly goal?: string | undefined;
}
