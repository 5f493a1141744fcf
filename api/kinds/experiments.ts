import type { z } from "zod";
import { defineExperiment } from "./define-kind.ts";
import { networkChaos } from "./network-chaos.ts";
import { podChaos } from "./pod-chaos.ts";

/** All kinds of experiments, one a line, sorted. Nothing else lists them; `registry.ts` adds the kinds that are none. */
export const experiments = {
  NetworkChaos: defineExperiment(networkChaos),
  PodChaos: defineExperiment(podChaos),
};

export type ExperimentName = keyof typeof experiments;
export type SpecOf<K extends ExperimentName> = z.output<(typeof experiments)[K]["schema"]>;

export const experimentNames = Object.keys(experiments) as readonly ExperimentName[];

export function isExperimentName(text: string): text is ExperimentName {
  return Object.hasOwn(experiments, text);
}
