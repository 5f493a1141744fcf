import { isJsonObject, type JsonObject } from "./json.ts";

/** A pod's class, see https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/. */
export type Quality = "Guaranteed" | "Burstable" | "BestEffort";

const resources = ["cpu", "memory"] as const;

export function qualityOf(spec: JsonObject): Quality {
  const containers = [spec["containers"], spec["initContainers"]].flatMap((value) =>
    Array.isArray(value) ? value.filter(isJsonObject) : [],
  );
  const stated = containers.map(({ resources: found }) => (isJsonObject(found) ? found : {}));
  const amount = (holder: JsonObject, kind: "limits" | "requests", name: string): unknown => {
    const amounts = holder[kind];
    return isJsonObject(amounts) ? amounts[name] : undefined;
  };
  if (
    stated.every((holder) =>
      resources.every((name) => amount(holder, "limits", name) === undefined && amount(holder, "requests", name) === undefined),
    )
  )
    return "BestEffort";
  const isGuaranteed = stated.every((holder) =>
    resources.every((name) => {
      const limit = amount(holder, "limits", name);
      const request = amount(holder, "requests", name);
      // A request that is left out becomes the limit.
      return limit !== undefined && (request === undefined || JSON.stringify(request) === JSON.stringify(limit));
    }),
  );
  return isGuaranteed ? "Guaranteed" : "Burstable";
}
