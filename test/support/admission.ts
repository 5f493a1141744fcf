import jsonpatch from "fast-json-patch";
import type { Author } from "../../api/author.ts";
import type { InjectionFacts } from "../../api/injection.ts";
import type { JsonObject } from "../../api/json.ts";
import { CONTROLLER_ACCOUNT } from "../../common/names.ts";
import { type AdmissionRequest, allowed, type Verdict } from "../../webhook/admission-review.ts";
import type { Authorise } from "../../webhook/authorise.ts";
import type { Forecast } from "../../webhook/forecast.ts";
import type { Govern } from "../../webhook/govern.ts";
import { type ExperimentPolicy, mutateExperiment, validateExperiment } from "../../webhook/experiments.ts";

export const strict: ExperimentPolicy = { admitUnsupported: false, controllerAccount: CONTROLLER_ACCOUNT };
export const everythingGoes: Authorise = () => Promise.resolve(allowed);
export const noForecast: Forecast = () => Promise.resolve([]);
/** A cluster in which any pod that asks for a sidecar gets it. */
export const injectionFacts: InjectionFacts = {
  image: "squall:0",
  version: "0",
  enrolmentAddress: "x:1",
  logLevel: "info",
  isImageReady: true,
  kubernetesMinor: 34,
  namespaceAnnotations: {},
};
/** Neither policies nor halts. */
export const noLimits: Govern = () => allowed;

export const alice: Author = { username: "alice", uid: "u-1", groups: ["shop-team"], extra: {} };

interface RequestOptions extends Partial<AdmissionRequest> {
  readonly metadata?: object;
  readonly kindName?: string;
}

/** Alice creates an object named slow in the namespace shop, unless told otherwise. */
export function reviewOf(spec: unknown, { metadata = {}, kindName = "NetworkChaos", ...more }: RequestOptions = {}): AdmissionRequest {
  return {
    uid: "1",
    kind: { group: "chaos-mesh.org", version: "v1alpha1", kind: kindName },
    namespace: "shop",
    operation: "CREATE",
    userInfo: alice,
    object: {
      apiVersion: "chaos-mesh.org/v1alpha1",
      kind: kindName,
      metadata: { name: "slow", namespace: "shop", ...metadata },
      spec,
    },
    ...more,
  };
}

export interface Admitted {
  readonly verdict: Verdict;
  /** As it would be stored. */
  readonly object: JsonObject;
  readonly warnings: readonly string[];
}

/** Both webhooks one after the other, as the API server asks them; `between` plays other webhooks. */
export async function admit(
  request: AdmissionRequest,
  {
    policy = strict,
    authorise = everythingGoes,
    govern = noLimits,
    forecast = noForecast,
    between = (object) => object,
  }: {
    readonly policy?: ExperimentPolicy;
    readonly authorise?: Authorise;
    readonly govern?: Govern;
    readonly forecast?: Forecast;
    readonly between?: (object: JsonObject) => JsonObject;
  } = {},
): Promise<Admitted> {
  const raw: Record<string, unknown> = structuredClone(request.object) ?? {};
  const mutated = mutateExperiment(request, policy);
  const patched = jsonpatch.applyPatch(raw, mutated.patch ?? []).newDocument;
  const object = between(patched);
  const verdict = mutated.isAllowed
    ? await validateExperiment({ ...request, object: { ...object } }, policy, { authorise, govern, forecast })
    : mutated;
  return { verdict, object, warnings: [...(mutated.warnings ?? []), ...(verdict.warnings ?? [])] };
}
