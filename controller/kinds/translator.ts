import type { z } from "zod";
import { describeErrors } from "../../api/field-error.ts";
import type { Actor, Selection, SelectorKey } from "../../api/kinds/definition.ts";
import type { ExperimentKind, Kind } from "../../api/kinds/define-kind.ts";
import type { Skip } from "../../api/selection.ts";
import type { VolumeMount } from "../../api/volume-mounts.ts";
import type { Fault, Passport } from "../../proto/gen/agent.ts";
import type { Peer, ServiceCoverage } from "../services.ts";

/** A pod that an experiment has picked. */
export interface Target extends Peer {
  readonly selectorKey: SelectorKey;
  /** NAMESPACE/POD, or NAMESPACE/POD/CONTAINER. */
  readonly id: string;
  /** Whether an agent can carry a fault for it, and it is not only the other side of one. */
  readonly hasAgent: boolean;
  /** Where its container has volumes; none of a pod as a whole. */
  readonly mounts: readonly VolumeMount[];
}

export interface Targets {
  readonly sources: readonly Target[];
  readonly targets: readonly Target[];
  /** The Services before these pods. */
  coverServices(peers: readonly Peer[]): ServiceCoverage;
}

/** What is to be in force on one target, still without lease and deadline. */
export interface TargetFault {
  readonly target: Target;
  readonly family: NonNullable<Fault["family"]>;
  /** Services that the fault should reach and cannot, NAMESPACE/NAME. */
  readonly unmatchedServices: readonly string[];
}

/** What one kind means for pods: pure functions of its spec. */
export interface Translator<Spec> {
  /** Why a target of this selector that needs an agent cannot carry the fault, going by the agent's passport; undefined where that says nothing against it. */
  whyUnable(spec: Spec, key: SelectorKey, passport: Passport): Skip | undefined;
  /** Faults for agents; a target without one is only somebody's other side. */
  faultsOf(spec: Spec, targets: Targets): readonly TargetFault[];
  /** What is done to each target once and for all; undefined where the spec means faults with a duration. */
  actOf(spec: Spec): Act | undefined;
}

/** What the controller does to a target, or has done, without a duration. */
export type Act = { readonly do: "delete-pod"; readonly graceSeconds: number } | { readonly do: "kill-container" };

/** A selection, with what is asked of the agents of its pods. */
export interface BoundSelector extends Selection {
  /** Whether only containers that run can be targets, and those of this moment alone. */
  readonly mustRun: boolean;
  whyUnable(passport: Passport): Skip | undefined;
}

/** One experiment's spec, with the questions that the controller asks about it. */
export interface BoundSpec {
  readonly explanation: string;
  readonly isOneShot: boolean;
  /** The duration as written. */
  readonly duration: string | undefined;
  readonly selectors: readonly BoundSelector[];
  readonly actor: Actor;
  readonly act: Act | undefined;
  faultsOf(targets: Targets): readonly TargetFault[];
}

export type Binding =
  | { readonly can: "run"; readonly bound: BoundSpec }
  /** Admitted although this version cannot carry it out. */
  | { readonly can: "not-yet"; readonly why: string }
  /** Breaks the rules of its kind: the webhook was away. */
  | { readonly can: "never"; readonly why: string };

/** Reads an experiment of one kind. */
export type Binder = (raw: { readonly metadata: { readonly namespace?: string | undefined }; readonly spec?: unknown }) => Binding;

const needsAgent = ({ need }: Selection): boolean => need === "sidecar" || need === "network" || need === "daemon";

/** Ties a kind to its translator, so that shared code may ask without knowing which kind it holds. */
export function bindKind<S extends z.ZodType>(
  kind: ExperimentKind<S>,
  translator: Translator<z.output<S>>,
  durationOf: (spec: z.output<S>) => string | undefined,
): Binder {
  return (raw) => {
    const judged = kind.judge(raw, { namespace: raw.metadata.namespace ?? "" });
    if (!judged.ok) return { can: "never", why: describeErrors(judged.errors) };
    if (judged.unsupported.length > 0) return { can: "not-yet", why: describeErrors(judged.unsupported) };
    const { spec } = judged;
    return {
      can: "run",
      bound: {
        explanation: judged.explanation,
        isOneShot: kind.isOneShot(spec),
        duration: durationOf(spec),
        selectors: kind.selections(spec).map((selection) => ({
          ...selection,
          mustRun: translator.actOf(spec)?.do === "kill-container",
          whyUnable: (passport) => (needsAgent(selection) ? translator.whyUnable(spec, selection.key, passport) : undefined),
        })),
        actor: kind.actorOf(spec),
        act: translator.actOf(spec),
        faultsOf: (targets) => translator.faultsOf(spec, targets),
      },
    };
  };
}

/** Reads a kind that has no translator: there is nothing to run, only to say so. */
export function bindNothing(kind: Pick<Kind<z.ZodType>, "kind" | "judge">): Binder {
  return (raw) => {
    const judged = kind.judge(raw, { namespace: raw.metadata.namespace ?? "" });
    if (!judged.ok) return { can: "never", why: describeErrors(judged.errors) };
    if (judged.unsupported.length === 0) throw new Error(`${kind.kind} has no translator and is not listed in not-yet.ts.`);
    return { can: "not-yet", why: describeErrors(judged.unsupported) };
  };
}
