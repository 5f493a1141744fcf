import type { z } from "zod";
import { parseDurationMs } from "../../common/duration.ts";
import { isJsonObject, type JsonObject } from "../json.ts";
import type { ExperimentKind, SoundSpec } from "../kinds/define-kind.ts";
import type { EmbeddedSpec, Selection } from "../kinds/definition.ts";
import { experiments, isExperimentName } from "../kinds/experiments.ts";
import { isKindName, kinds } from "../kinds/registry.ts";

/** One experiment that an object is or brings about, as a policy looks at it. */
export interface Act {
  readonly kind: string;
  /** Undefined for a kind that does one thing only. */
  readonly action: string | undefined;
  /** Killing a pod lasts no time: there is nothing to limit. */
  readonly isOneShot: boolean;
  /** Undefined where it runs until somebody ends it. */
  readonly durationMs: number | undefined;
  /** Whose pods it picks. */
  readonly selections: readonly Selection[];
  /** Namespaces of its targets. */
  readonly namespaces: readonly string[] | "all";
  /** From the root of the object: `spec`, or `spec.templates[2].networkChaos`. */
  readonly path: string;
  /** Where its duration stands, or would stand. */
  readonly durationPath: string;
}

/** Every experiment in an object, to any depth; none of an object that its kind refuses. */
export function actsOf(kind: string, raw: JsonObject, around: { readonly namespace: string }): readonly Act[] {
  if (!isKindName(kind)) return [];
  const judged = kinds[kind].judge(raw, around);
  return judged.ok ? actsOfJudged(kind, judged) : [];
}

/** The same of an object that was judged already. */
export const actsOfJudged = (kind: string, judged: SoundSpec<unknown>): readonly Act[] => actsAt(kind, judged, { path: "spec" });

interface Place {
  readonly path: string;
  readonly limit?: EmbeddedSpec["limit"];
}

function actsAt(kind: string, judged: SoundSpec<unknown>, { path, limit }: Place): readonly Act[] {
  const moved = (inside: string): string => `${path}${inside.slice("spec".length)}`;
  const inner = judged.embedded.flatMap((part) =>
    actsAt(part.kind, part.judged, { path: moved(part.path), limit: part.limit && { ...part.limit, path: moved(part.limit.path) } }),
  );
  if (!isExperimentName(kind)) return inner;
  const definition: ExperimentKind<z.ZodType> = experiments[kind];
  const { spec: parsed } = judged;
  const { action, duration } = isJsonObject(parsed) ? parsed : {};
  const written = limit ? limit.duration : duration;
  const namespaces = judged.touches.map((touch) => (touch.on === "namespace" ? touch.namespace : undefined));
  const act: Act = {
    kind,
    action: typeof action === "string" ? action : undefined,
    isOneShot: definition.isOneShot(parsed),
    durationMs: typeof written === "string" ? parseDurationMs(written) : undefined,
    selections: definition.selections(parsed),
    namespaces: judged.touches.some(({ on }) => on === "cluster") ? "all" : [...new Set(namespaces.filter((name) => name !== undefined))],
    path,
    durationPath: limit?.path ?? `${path}.duration`,
  };
  return [act, ...inner];
}
