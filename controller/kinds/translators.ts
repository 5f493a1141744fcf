import { type KindName, kinds } from "../../api/kinds/registry.ts";
import { networkChaos } from "./network-chaos.ts";
import { podChaos } from "./pod-chaos.ts";
import { type Binder, bindKind } from "./translator.ts";

/** Each kind with its translator; a kind without one does not compile. */
export const binders: { readonly [K in KindName]: Binder } = {
  NetworkChaos: bindKind(kinds.NetworkChaos, networkChaos, (spec) => spec.duration),
  PodChaos: bindKind(kinds.PodChaos, podChaos, (spec) => spec.duration),
};
