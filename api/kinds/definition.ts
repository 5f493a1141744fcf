import type { z } from "zod";
import type { SelectorBlock } from "../blocks/selector.ts";
import type { FieldError } from "../field-error.ts";
import type { JsonObject } from "../json.ts";
import type { Rule } from "../rule.ts";
import type { TargetNeed } from "../selection.ts";

/** What every kind says of itself, as data and pure functions: all that every process must agree on. */
interface AnyDefinition<S extends z.ZodType> {
  readonly kind: string;
  /** As in the URL; an experiment's plural equals its singular, as Chaos Mesh has it. */
  readonly plural: string;
  /** What `kubectl get` shows besides the columns that every kind has. */
  readonly columns: readonly Column[];
  /** The single source of the type, the defaults, the CRD schema and the field errors. */
  readonly schema: S;
  /** Defaults that depend on the object around the spec, and spellings of Chaos Mesh that the schema does not know; runs first, on what the user wrote. */
  prepare(spec: JsonObject, namespace: string): JsonObject;
  /** What a schema cannot say; docs/rules.md lists them. */
  readonly rules: readonly Rule<z.output<S>>[];
  /** What the spec asks for and this version cannot carry out, each with its path. Kinds and actions are listed in not-yet.ts and not repeated here. */
  unsupported(spec: z.output<S>): readonly FieldError[];
  /** What the spec says and nothing comes of, each with its path and the reason: admitted with a warning, as Chaos Mesh admits it without. */
  ineffective(spec: z.output<S>): readonly FieldError[];
  /** One plain sentence for events, dry runs and the dashboard. */
  explain(spec: z.output<S>): string;
  /** What the spec acts on beside the object itself: whoever writes it must be allowed all of it. See `api/reach.ts`. */
  touches(spec: z.output<S>): readonly Touch[];
}

export interface Column {
  readonly name: string;
  readonly jsonPath: string;
  /** A text by default. */
  readonly type?: "boolean" | "integer";
}

/** The process that carries a spec out. */
export type Actor = "controller" | "sidecar" | "daemon";

/** A kind that faults targets. It is namespaced, its spec never changes, and its status is the one of all experiments. */
export interface ExperimentDefinition<S extends z.ZodType> extends AnyDefinition<S> {
  /** The process that carries this spec's faults out; it decides what a target needs to have. */
  actorOf(spec: z.output<S>): Actor;
  /** Whether that is the sidecar where targets are containers: asked of records whose spec cannot be read, and which are the daemon's otherwise. */
  readonly hasContainersInSidecar?: boolean;
  /** What one target of this spec is: it gives the shape of the record id. */
  targetOf(spec: z.output<S>): "pod" | "container" | "machine" | "cloud";
  /** Whose pods it picks; none of a kind whose targets are no pods. */
  selections(spec: z.output<S>): readonly Selection[];
  /** Whether the fault is one act without a duration (pod-kill): it is never taken back, paused or joined later. */
  isOneShot(spec: z.output<S>): boolean;
}

/** Whose selector picked a target: "." is the spec's own, ".Target" the one of its `target`. */
export type SelectorKey = "." | ".Target";

/** One selector of an experiment, and what it asks of the pods that it picks. */
export interface Selection {
  readonly key: SelectorKey;
  readonly block: SelectorBlock;
  readonly need: TargetNeed;
  /** Where targets are containers: names of those in each pod, its first one where none is named. Absent: pods as a whole. */
  readonly containers?: readonly string[] | undefined;
  /** Where files are faulted: each of the containers must have a volume that is served through FUSE at this path. */
  readonly volumePath?: string | undefined;
}

/** Any kind. */
export interface KindDefinition<S extends z.ZodType> extends AnyDefinition<S> {
  readonly group: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly scope: "Namespaced" | "Cluster";
  /** What `kubectl explain` says first: one sentence. */
  readonly description: string;
  /** Undefined for a kind without a status. Where there is one it is a subresource. */
  readonly status: z.ZodType | undefined;
  /** Whether the spec may change once the object exists. */
  readonly mayChange: boolean;
  /** Who may create objects of this kind; the controller makes its own from objects of people. */
  readonly madeBy: "anyone" | "controller";
  /** The kind that people write in place of this one. */
  readonly insteadOf?: string;
  /** Specs of other kinds that stand right inside this one; those inside of them are theirs to name. Asked of broken specs, too: it leaves out what it cannot make sense of. */
  embedded(spec: JsonObject): readonly EmbeddedSpec[];
}

/** A spec of another kind inside an object: what a Schedule makes, a template of a Workflow. */
export interface EmbeddedSpec {
  /** From the spec around it: `["templates", 2, "networkChaos"]`. */
  readonly place: readonly (string | number)[];
  /** The same from the root of the object: `spec.templates[2].networkChaos`. */
  readonly path: string;
  readonly kind: string;
  readonly spec: JsonObject;
  /** Where not its own duration but what stands around it says how long it runs: the deadline of a template. */
  readonly limit?: { readonly duration: string | undefined; readonly path: string } | undefined;
}

/** Something that a spec acts on. `path` says where it is asked for, from the root of the object. */
export type Touch =
  /** Pods or machines of a namespace. */
  | { readonly on: "namespace"; readonly namespace: string; readonly path: string }
  /** Something that belongs to no namespace, or to all of them: machines anywhere, the cluster's own cloud account. */
  | { readonly on: "cluster"; readonly path: string }
  /** A Secret that is read for the user; of the object's own namespace where none is named. */
  | { readonly on: "secret"; readonly namespace?: string | undefined; readonly name: string; readonly path: string }
  /** Pods that are made in the object's own namespace. */
  | { readonly on: "new pods"; readonly path: string };
