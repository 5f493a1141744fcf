import { type ExperimentName, experiments } from "../../api/kinds/experiments.ts";
import type { NotYetKind } from "../../api/kinds/not-yet.ts";
import { problemWithDuration } from "../../api/blocks/scalars.ts";
import { ioChaos } from "./io-chaos.ts";
import { networkChaos } from "./network-chaos.ts";
import { podChaos } from "./pod-chaos.ts";
import { stressChaos } from "./stress-chaos.ts";
import { timeChaos } from "./time-chaos.ts";
import { type Binder, bindKind, bindNothing } from "./translator.ts";

/** Each kind with its translator; one that is not in the list of not-yet.ts does not compile without. */
const binders: { readonly [K in Exclude<ExperimentName, NotYetKind>]: Binder } = {
  IOChaos: bindKind(experiments.IOChaos, ioChaos, (spec) => spec.duration),
  NetworkChaos: bindKind(experiments.NetworkChaos, networkChaos, (spec) => spec.duration),
  PodChaos: bindKind(experiments.PodChaos, podChaos, (spec) => spec.duration),
  StressChaos: bindKind(experiments.StressChaos, stressChaos, (spec) => spec.duration),
  // What is no duration counts as none, as in Chaos Mesh.
  TimeChaos: bindKind(experiments.TimeChaos, timeChaos, ({ duration = "" }) =>
    problemWithDuration(duration) === undefined ? duration : undefined,
  ),
};

/** Reads experiments of a kind, whether this version can carry them out or only say that it cannot. */
export function binderOf(kind: ExperimentName): Binder {
  return isCarriedOut(kind) ? binders[kind] : bindNothing(experiments[kind]);
}

const isCarriedOut = (kind: ExperimentName): kind is keyof typeof binders => Object.hasOwn(binders, kind);
