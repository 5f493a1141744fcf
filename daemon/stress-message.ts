import type { MemoryStress as MemoryMessage, StressFault as StressMessage } from "../proto/gen/faults.ts";
import type { MemoryStress, StressFault } from "./stress/stress-fault.ts";

const MOST_WORKERS = 8_192;

/** What a message means, or what is wrong with it: nothing that came over the wire is trusted. */
export function parseStressFault({ cpu, memory, stressngArguments }: StressMessage): StressFault | string {
  const workers = [cpu?.workers ?? 0, memory?.workers ?? 0];
  if (!workers.every((count) => Number.isInteger(count) && count <= MOST_WORKERS))
    return `${workers.join(" and ")} are no numbers of workers.`;
  if (cpu !== undefined && !(Number.isInteger(cpu.loadPercent) && cpu.loadPercent >= 1 && cpu.loadPercent <= 100))
    return `A load of ${cpu.loadPercent} % is not between 1 and 100.`;
  const parsedMemory = memory === undefined ? undefined : parseMemory(memory);
  if (typeof parsedMemory === "string") return parsedMemory;
  return {
    cpu: cpu === undefined ? undefined : { workers: cpu.workers, loadPercent: cpu.loadPercent, options: cpu.options },
    memory: parsedMemory,
    stressngArguments: stressngArguments.join(" "),
  };
}

function parseMemory({ workers, size, oomScoreAdj, options }: MemoryMessage): MemoryStress | string {
  if (size !== undefined && !(Number.isFinite(size.value) && size.value > 0)) return `A size of ${size.value} takes no memory.`;
  if (size?.$case === "percent" && size.value > 100) return `${size.value} % is more memory than there is.`;
  if (!(Number.isInteger(oomScoreAdj) && Math.abs(oomScoreAdj) <= 1000)) return `${oomScoreAdj} is no adjustment of an OOM score.`;
  return {
    workers,
    size: size === undefined ? undefined : size.$case === "bytes" ? { bytes: size.value } : { percent: size.value },
    oomScoreAdj,
    // `--time`, as the memory stressor of Chaos Mesh has it, is among the options.
    rampMs: 0,
    options,
  };
}
