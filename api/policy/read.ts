import { describeErrors } from "../field-error.ts";
import { isJsonObject } from "../json.ts";
import { kinds } from "../kinds/registry.ts";
import type { Policy } from "./violations.ts";

/**
 * A ChaosPolicy as it is stored; undefined for one that is not enabled. One that nobody can read, as it was stored without the webhook,
 * allows nothing until it is mended: nobody knows what it was to forbid.
 */
export function readPolicy({
  metadata,
  spec,
}: {
  readonly metadata: { readonly name: string };
  readonly spec?: unknown;
}): Policy | undefined {
  if (isJsonObject(spec) && spec["enabled"] === false) return undefined;
  const { name } = metadata;
  const judged = kinds.ChaosPolicy.judge({ spec }, { namespace: "" });
  if (judged.ok) return judged.spec.enabled ? { name, spec: judged.spec } : undefined;
  return { name, spec: { enabled: true, allow: [] }, problem: describeErrors(judged.errors) };
}
