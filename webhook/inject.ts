import { planInjection, type InjectionFacts, type SkipCode } from "../api/injection.ts";
import { isJsonObject, type JsonObject } from "../api/json.ts";
import { annotations as names } from "../common/names.ts";
import { type AdmissionRequest, allowed, type Verdict } from "./admission-review.ts";

export interface Injector {
  factsFor(namespace: string): InjectionFacts;
  /** Tells the pod's owner why it got no sidecar. */
  onSkip(skipped: { readonly namespace: string; readonly pod: JsonObject; readonly code: SkipCode; readonly message: string }): void;
}

/** Adds the sidecar to a pod that asked for it, or lets it through as it came and says why. Never refuses. */
export function injectSidecar({ object: pod, namespace = "default", operation, dryRun }: AdmissionRequest, injector: Injector): Verdict {
  if (operation !== "CREATE" || !pod) return allowed;
  const injection = planInjection(pod, injector.factsFor(namespace), { isTrial: dryRun === true && isSample(pod) });
  switch (injection.do) {
    case "nothing":
      return allowed;
    case "inject":
      return { isAllowed: true, code: "Injected", message: "", patch: injection.patch, warnings: injection.warnings };
    case "skip": {
      const { code, message, patch } = injection;
      if (dryRun !== true) injector.onSkip({ namespace, pod, code, message });
      return { isAllowed: true, code, message, patch, warnings: [`squall: ${nameOf(pod)} gets no sidecar: ${code}: ${message}`] };
    }
  }
}

function isSample({ metadata }: JsonObject): boolean {
  const annotations = isJsonObject(metadata) ? metadata["annotations"] : undefined;
  return isJsonObject(annotations) && annotations[names.injectionSample] === "true";
}

function nameOf({ metadata }: JsonObject): string {
  if (!isJsonObject(metadata)) return "the pod";
  const { name, generateName } = metadata;
  const found = typeof name === "string" ? name : typeof generateName === "string" ? `${generateName}…` : undefined;
  return found === undefined ? "the pod" : `pod ${found.slice(0, 63)}`;
}
