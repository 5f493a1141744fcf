import { parseByteSize } from "../../api/blocks/byte-size.ts";
import type { SpecOf } from "../../api/kinds/experiments.ts";
import type { CpuStress, MemoryStress } from "../../proto/gen/faults.ts";
import { onEach, whyNoFamily } from "./daemon-faults.ts";
import type { Translator } from "./translator.ts";

type Spec = SpecOf<"StressChaos">;

/** Containers are stressed by the daemon of their node. */
export const stressChaos: Translator<Spec> = {
  whyUnable: (_spec, _key, passport) => whyNoFamily("stress", passport),
  actOf: () => undefined,
  faultsOf: (spec, { sources }) => {
    const stressngArguments = (spec.stressngStressors ?? "").split(/\s+/).filter((argument) => argument !== "");
    const { cpu, memory } = spec.stressors ?? {};
    const isRaw = stressngArguments.length > 0;
    return onEach(sources, {
      $case: "stress",
      value: { cpu: isRaw ? undefined : cpuStressOf(cpu), memory: isRaw ? undefined : memoryStressOf(memory), stressngArguments },
    });
  },
};

function cpuStressOf(cpu: NonNullable<Spec["stressors"]>["cpu"]): CpuStress | undefined {
  if (cpu === undefined || cpu.workers === 0) return undefined;
  return { workers: cpu.workers, loadPercent: cpu.load ?? 100, options: [...(cpu.options ?? [])] };
}

function memoryStressOf(memory: NonNullable<Spec["stressors"]>["memory"]): MemoryStress | undefined {
  if (memory === undefined || memory.workers <= 0) return undefined;
  const { workers, size = "", oomScoreAdj, options = [] } = memory;
  return { workers, size: sizeOf(size), oomScoreAdj, options: [...options] };
}

function sizeOf(text: string): MemoryStress["size"] {
  const parsed = parseByteSize(text);
  if (parsed === undefined) return undefined;
  return parsed.is === "bytes" ? { $case: "bytes", value: Math.round(parsed.bytes) } : { $case: "percent", value: parsed.percent };
}
