import type { z } from "zod";
import { defineKind } from "./define-kind.ts";
import { networkChaos } from "./network-chaos.ts";
import { podChaos } from "./pod-chaos.ts";

/** All kinds of experiments. Nothing else lists them; CRDs, webhooks, watches and tests are derived from here. */
export const kinds = { NetworkChaos: defineKind(networkChaos), PodChaos: defineKind(podChaos) };

export type KindName = keyof typeof kinds;
export type SpecOf<K extends KindName> = z.output<(typeof kinds)[K]["schema"]>;

export const kindNames = Object.keys(kinds) as readonly KindName[];

export function isKindName(text: string): text is KindName {
  return Object.hasOwn(kinds, text);
}
