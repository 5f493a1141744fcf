import { parseExternalTarget } from "../../api/blocks/external-target.ts";
import type { SpecOf } from "../../api/kinds/registry.ts";
import { parseDurationMs } from "../../common/duration.ts";
import { Direction, type NetworkRule, type Peers } from "../../proto/gen/faults.ts";
import type { ServiceCoverage } from "../services.ts";
import type { SelectorKey, Target, TargetFault, Translator } from "./translator.ts";

type Spec = SpecOf<"NetworkChaos">;
type Effect = NonNullable<NetworkRule["effect"]>;

/**
 * What each target of a NetworkChaos carries, as seen from that pod:
 *
 * |                | on selected pods (.)             | on target pods (.Target) |
 * | -------------- | -------------------------------- | ------------------------ |
 * | shape to       | egress to target and external    | nothing                  |
 * | shape from     | nothing                          | egress to selected       |
 * | partition to   | egress to target and external    | ingress from selected    |
 * | partition from | ingress from target and external | egress to selected       |
 *
 * `both` is `to` and `from` together. With neither target nor external targets, all traffic of the selected pods is meant. What a partition
 * does on target pods is for the other end to see it, too; one without a sidecar goes without.
 */
export const networkChaos: Translator<Spec> = {
  selectorsOf: (spec) => [{ key: ".", block: spec }, ...(spec.target ? [{ key: ".Target" as const, block: spec.target }] : [])],
  needOf(spec, key) {
    if (key === ".") return spec.action !== "partition" && spec.direction === "from" ? "address" : "sidecar";
    return spec.action !== "partition" && spec.direction !== "to" ? "sidecar" : "address";
  },
  killGraceSecondsOf: () => undefined,
  faultsOf(spec, around) {
    const { sources, targets } = around;
    const far = spec.target ? around.coverServices(targets) : nothing;
    const near = around.coverServices(sources);
    const external = (spec.externalTargets ?? []).flatMap(networkOf);
    const hasFarSide = spec.target !== undefined || external.length > 0;
    const toFar = hasFarSide ? peersOf(targets, far, external) : undefined;
    const toNear = peersOf(sources, near, []);
    return [...sources, ...targets].flatMap((target): readonly TargetFault[] => {
      const isSource = target.selectorKey === ".";
      const rules = rulesOf(spec, target.selectorKey, isSource ? toFar : toNear);
      if (rules.length === 0 || !target.hasSidecar) return [];
      // Only what is sent goes through Services, and a partition drops it at the other end too, where that end has a sidecar.
      const isMatchedThere = spec.action === "partition" && (isSource ? targets : sources).every(({ hasSidecar }) => hasSidecar);
      const sends = rules.some(({ direction }) => direction === Direction.EGRESS);
      const unmatchedServices = sends && !isMatchedThere ? (isSource ? far : near).partly : [];
      return [{ target, family: { $case: "network", value: { rules: [...rules] } }, unmatchedServices }];
    });
  },
};

const nothing: ServiceCoverage = { addresses: [], partly: [] };

function rulesOf(spec: Spec, key: SelectorKey, peers: Peers | undefined): readonly NetworkRule[] {
  const effect = effectOf(spec);
  const isPartition = spec.action === "partition";
  const sends = key === "." ? spec.direction !== "from" : spec.direction !== "to";
  const receives = isPartition && (key === "." ? spec.direction !== "to" : spec.direction !== "from");
  const rule = (direction: Direction): NetworkRule => ({ direction, peers, effect });
  return [...(sends ? [rule(Direction.EGRESS)] : []), ...(receives ? [rule(Direction.INGRESS)] : [])];
}

function effectOf({ action, delay, loss }: Spec): Effect {
  if (action === "partition") return { $case: "partition", value: {} };
  const us = (duration: string | undefined): number => Math.round((parseDurationMs(duration ?? "0") ?? 0) * 1000);
  return { $case: "shape", value: { latencyUs: us(delay?.latency), jitterUs: us(delay?.jitter), lossPercent: Number(loss?.loss ?? 0) } };
}

/** IPv6 addresses of dual-stack pods and Services stay out until agents can match them. */
function peersOf(pods: readonly Target[], { addresses }: ServiceCoverage, external: readonly string[]): Peers {
  const own = [...pods.flatMap((pod) => pod.addresses), ...addresses].filter((ip) => !ip.includes(":")).map((ip) => `${ip}/32`);
  return { networks: [...new Set([...own, ...external])].toSorted() };
}

function networkOf(text: string): readonly string[] {
  const target = parseExternalTarget(text);
  return target?.is === "network" ? [target.network] : [];
}
