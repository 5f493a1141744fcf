import type { z } from "zod";
import type { FieldError } from "../field-error.ts";

/** One kind, as data and pure functions: all that every process must agree on. */
export interface KindDefinition<S extends z.ZodType> {
  readonly kind: string;
  /** As in the URL; Chaos Mesh's plurals equal the singular. */
  readonly plural: string;
  /** The process that carries this spec's faults out; it decides what a target needs to have. */
  actorOf(spec: z.output<S>): "controller" | "sidecar" | "daemon";
  /** What one target of this spec is: it gives the shape of the record id. */
  targetOf(spec: z.output<S>): "pod" | "container" | "machine" | "cloud";
  /** Whether the fault is one act without a duration (pod-kill): it is never taken back, paused or joined later. */
  isOneShot(spec: z.output<S>): boolean;
  /** The single source of the type, the defaults, the CRD schema and the field errors. */
  readonly schema: S;
  /** Rules across fields, which a schema cannot say. Every violation, not just the first. */
  check(spec: z.output<S>): readonly FieldError[];
  /** What the spec asks for and this version cannot carry out, each with its path. */
  unsupported(spec: z.output<S>): readonly FieldError[];
  /** One plain sentence for events, dry runs and the dashboard. */
  explain(spec: z.output<S>): string;
}
