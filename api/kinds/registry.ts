import { chaosPolicy } from "./chaos-policy.ts";
import { defineKind } from "./define-kind.ts";
import { experiments } from "./experiments.ts";
import { clusterHalt, halt } from "./halt.ts";

/** Everything that a user may write, by kind. CRDs, webhooks, watches, pages and tests are derived from here. */
export const kinds = {
  ...experiments,
  ChaosPolicy: defineKind(chaosPolicy),
  ClusterHalt: defineKind(clusterHalt),
  Halt: defineKind(halt),
};

export type KindName = keyof typeof kinds;

export const kindNames = Object.keys(kinds).toSorted() as readonly KindName[];

export function isKindName(text: string): text is KindName {
  return Object.hasOwn(kinds, text);
}

/** `network-chaos`, `aws-chaos`, `pod-io-chaos`: how pages and files about a kind are named. */
export const fileNameOf = (kind: KindName): string => kind.replaceAll(/(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])/g, "-").toLowerCase();
