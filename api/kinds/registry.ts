import type { z } from "zod";
import { chaosPolicy } from "./chaos-policy.ts";
import { defineKind } from "./define-kind.ts";
import type { JudgeEmbedded } from "./embedded.ts";
import { experiments } from "./experiments.ts";
import { clusterHalt, halt } from "./halt.ts";
import { physicalMachine } from "./physical-machine.ts";
import { podHttpChaos } from "./pod-http-chaos.ts";
import { podIoChaos } from "./pod-io-chaos.ts";
import { podNetworkChaos } from "./pod-network-chaos.ts";
import { remoteCluster } from "./remote-cluster.ts";
import { schedule } from "./schedule.ts";
import { statusCheck } from "./status-check.ts";
import { workflowNode } from "./workflow-node.ts";
import { workflow } from "./workflow.ts";

/** Schedules hold Workflows, and Workflows hold Schedules: neither can know the other before both are there. */
const judgeEmbedded: JudgeEmbedded = (kind, spec, around) => kinds[kindNamed(kind)].judgeSpec(spec, around);

/** Everything that a user may write, by kind. CRDs, webhooks, watches, pages and tests are derived from here. */
export const kinds = {
  ...experiments,
  ChaosPolicy: defineKind(chaosPolicy),
  ClusterHalt: defineKind(clusterHalt),
  Halt: defineKind(halt),
  PhysicalMachine: defineKind(physicalMachine),
  PodHttpChaos: defineKind(podHttpChaos),
  PodIOChaos: defineKind(podIoChaos),
  PodNetworkChaos: defineKind(podNetworkChaos),
  RemoteCluster: defineKind(remoteCluster),
  Schedule: defineKind(schedule, judgeEmbedded),
  StatusCheck: defineKind(statusCheck),
  Workflow: defineKind(workflow, judgeEmbedded),
  WorkflowNode: defineKind(workflowNode),
};

export type KindName = keyof typeof kinds;

export const kindNames = Object.keys(kinds).toSorted() as readonly KindName[];

export function isKindName(text: string): text is KindName {
  return Object.hasOwn(kinds, text);
}

/** Throws on a name that is no kind. */
export const schemaOf = (kind: string): z.ZodType => kinds[kindNamed(kind)].schema;

function kindNamed(kind: string): KindName {
  if (!isKindName(kind)) throw new Error(`${kind} is no kind.`);
  return kind;
}

/** `network-chaos`, `aws-chaos`, `pod-io-chaos`: how pages and files about a kind are named. */
export const fileNameOf = (kind: KindName): string => kind.replaceAll(/(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])/g, "-").toLowerCase();
