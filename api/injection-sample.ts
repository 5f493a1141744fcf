import { annotations, labels, OPTED_IN } from "../common/names.ts";
import type { Quality } from "./quality-of-service.ts";
import { parseQuantity } from "./quantity.ts";

/** What the namespace asks of the resources of its pods. */
export interface ResourceRules {
  /** `spec.hard` of each ResourceQuota. */
  readonly quotas: readonly Readonly<Record<string, string>>[];
  /** `min` of each limit of each LimitRange. */
  readonly minima: readonly Readonly<Record<string, string>>[];
}

/** A pod that lives there, for policies that ask for labels or judge images. */
export interface ModelPod {
  readonly labels: Readonly<Record<string, string>>;
  readonly image: string | undefined;
}

export interface SamplePod {
  readonly metadata: {
    readonly namespace: string;
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly annotations: Readonly<Record<string, string>>;
  };
  readonly spec: object;
}

/** The same pod thrice: as it is, asking for a sidecar, and having a volume that the sidecar is to serve. Only created in dry runs. */
export interface Sample {
  readonly quality: Quality;
  readonly plain: SamplePod;
  readonly injected: SamplePod;
  readonly served: SamplePod;
}

const SMALL: Readonly<Record<string, number>> = { cpu: 0.01, memory: 16 * 2 ** 20, "ephemeral-storage": 2 ** 20 };
/** Above the request, so that the pod is Burstable, and by no more than a LimitRange is likely to allow. */
const BURST = 1.1;

/**
 * One small pod of each class, which keeps to the strictest Pod Security level and to what quotas and limit ranges ask for, so that the
 * sidecar is all that is left to refuse.
 */
export function planSamples(namespace: string, rules: ResourceRules, model: ModelPod | undefined): readonly Sample[] {
  const requests = planRequests(rules);
  const exact = Object.fromEntries([...requests].map(([name, amount]) => [name, renderAmount(amount)]));
  const more = Object.fromEntries([...requests].map(([name, amount]) => [name, renderAmount(amount * BURST)]));
  const shapes: readonly (readonly [Quality, object])[] = [
    ["BestEffort", {}],
    ["Burstable", { requests: exact, limits: more }],
    ["Guaranteed", { requests: exact, limits: exact }],
  ];
  const { [labels.inject]: _, ...others } = model?.labels ?? {};
  return shapes.map(([quality, resources]) => {
    const pod = (own: Readonly<Record<string, string>>, volume?: string): SamplePod => ({
      metadata: {
        namespace,
        name: `squall-sample-${quality.toLowerCase()}`,
        labels: { ...others, ...own },
        annotations: { [annotations.injectionSample]: "true", ...(volume !== undefined && { [annotations.volumes]: volume }) },
      },
      spec: planSpec({ resources, image: model?.image, volume }),
    });
    const asking = { [labels.inject]: OPTED_IN };
    return { quality, plain: pod({}), injected: pod(asking), served: pod(asking, "data") };
  });
}

interface SpecParts {
  readonly resources: object;
  readonly image: string | undefined;
  readonly volume: string | undefined;
}

function planSpec({ resources, image = "squall-sample", volume }: SpecParts): object {
  const volumes = volume === undefined ? {} : { volumes: [{ name: volume, emptyDir: { sizeLimit: "1Mi" } }] };
  const volumeMounts = volume === undefined ? {} : { volumeMounts: [{ name: volume, mountPath: "/data" }] };
  const securityContext = { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ["ALL"] } };
  return {
    serviceAccountName: "default",
    automountServiceAccountToken: false,
    securityContext: { runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } },
    containers: [{ name: "app", image, resources, securityContext, ...volumeMounts }],
    ...volumes,
  };
}

/** Cores and bytes, as little as the namespace allows. */
function planRequests({ quotas, minima }: ResourceRules): ReadonlyMap<string, number> {
  const mentioned = [...quotas, ...minima].flatMap((amounts) => Object.keys(amounts));
  const isMentioned = (resource: string): boolean => mentioned.some((name) => name.replace(/^(?:requests|limits)\./, "") === resource);
  const names = ["cpu", "memory", ...(isMentioned("ephemeral-storage") ? ["ephemeral-storage"] : [])];
  return new Map(
    names.map((name) => [name, Math.max(SMALL[name] ?? 0, ...minima.map((amounts) => parseQuantity(amounts[name] ?? "") ?? 0))]),
  );
}

/** In thousandths, rounded up: what is a minimum stays one. */
const renderAmount = (amount: number): string =>
  Number.isInteger(amount) ? String(amount) : amount < 1e6 ? `${Math.ceil(amount * 1000 - 1e-6)}m` : String(Math.ceil(amount));
