import type { z } from "zod";
import { awsChaos } from "./aws-chaos.ts";
import { azureChaos } from "./azure-chaos.ts";
import { blockChaos } from "./block-chaos.ts";
import { defineExperiment } from "./define-kind.ts";
import { dnsChaos } from "./dns-chaos.ts";
import { gcpChaos } from "./gcp-chaos.ts";
import { httpChaos } from "./http-chaos.ts";
import { ioChaos } from "./io-chaos.ts";
import { jvmChaos } from "./jvm-chaos.ts";
import { kernelChaos } from "./kernel-chaos.ts";
import { networkChaos } from "./network-chaos.ts";
import { physicalMachineChaos } from "./physical-machine-chaos.ts";
import { podChaos } from "./pod-chaos.ts";
import { stressChaos } from "./stress-chaos.ts";
import { timeChaos } from "./time-chaos.ts";

/** All kinds of experiments, one a line, sorted. Nothing else lists them; `registry.ts` adds the kinds that are none. */
export const experiments = {
  AWSChaos: defineExperiment(awsChaos),
  AzureChaos: defineExperiment(azureChaos),
  BlockChaos: defineExperiment(blockChaos),
  DNSChaos: defineExperiment(dnsChaos),
  GCPChaos: defineExperiment(gcpChaos),
  HTTPChaos: defineExperiment(httpChaos),
  IOChaos: defineExperiment(ioChaos),
  JVMChaos: defineExperiment(jvmChaos),
  KernelChaos: defineExperiment(kernelChaos),
  NetworkChaos: defineExperiment(networkChaos),
  PhysicalMachineChaos: defineExperiment(physicalMachineChaos),
  PodChaos: defineExperiment(podChaos),
  StressChaos: defineExperiment(stressChaos),
  TimeChaos: defineExperiment(timeChaos),
};

export type ExperimentName = keyof typeof experiments;
export type SpecOf<K extends ExperimentName> = z.output<(typeof experiments)[K]["schema"]>;

export const experimentNames = Object.keys(experiments) as readonly ExperimentName[];

export function isExperimentName(text: string): text is ExperimentName {
  return Object.hasOwn(experiments, text);
}
