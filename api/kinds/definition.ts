import type { z } from "zod";
import type { FieldError } from "../field-error.ts";
import type { JsonObject } from "../json.ts";

/** One kind, as data and pure functions: all that every process must agree on. */
export interface KindDefinition<S extends z.ZodType> {
  readonly kind: string;
  /** As in the URL; Chaos Mesh's plurals equal the singular. */
  readonly plural: string;
  /** What `kubectl get` shows besides the columns that every kind has. */
  readonly columns: readonly { readonly name: string; readonly jsonPath: string }[];
  /** The process that carries this spec's faults out; it decides what a target needs to have. */
  actorOf(spec: z.output<S>): "controller" | "sidecar" | "daemon";
  /** What one target of this spec is: it gives the shape of the record id. */
  targetOf(spec: z.output<S>): "pod" | "container" | "machine" | "cloud";
  /** Whether the fault is one act without a duration (pod-kill): it is never taken back, paused or joined later. */
  isOneShot(spec: z.output<S>): boolean;
  /** The single source of the type, the defaults, the CRD schema and the field errors. */
  readonly schema: S;
  /** Defaults that depend on the object around the spec, and spellings of Chaos Mesh that the schema does not know; runs first, on what the user wrote. */
  prepare(spec: JsonObject, namespace: string): JsonObject;
  /** Rules across fields, which a schema cannot say. Every violation, not just the first. */
  check(spec: z.output<S>): readonly FieldError[];
  /** What the spec asks for and this version cannot carry out, each with its path. */
  unsupported(spec: z.output<S>): readonly FieldError[];
  /** One plain sentence for events, dry runs and the dashboard. */
  explain(spec: z.output<S>): string;
}
