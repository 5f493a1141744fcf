/** What a container is stressed with; the fields mean what they mean in StressChaos. */
export interface StressFault {
  readonly cpu?: CpuStress | undefined;
  readonly memory?: MemoryStress | undefined;
  /** Arguments for stress-ng as they are, split on blanks. They win over both others. */
  readonly stressngArguments: string;
}

export interface CpuStress {
  /** 0 for none; below 0, one for each processor that the container may use. */
  readonly workers: number;
  /** Of one processor for each worker, 1 to 100. */
  readonly loadPercent: number;
  readonly options: readonly string[];
}

export interface MemoryStress {
  /** 0 and below for none. */
  readonly workers: number;
  /** What all workers take together; a percentage is of the container's memory limit, or of the node's memory where it has none. */
  readonly size: { readonly bytes: number } | { readonly percent: number } | undefined;
  /** As in /proc/PID/oom_score_adj, -1000 to 1000. 0 leaves what the container's own processes have. */
  readonly oomScoreAdj: number;
  /** The size is reached in even steps within this time; 0 for at once. */
  readonly rampMs: number;
  readonly options: readonly string[];
}
