import * as z from "zod";
import { isJsonObject, objectsOf } from "../api/json.ts";
import { probePortsOf } from "../api/probe-ports.ts";
import { readMounts } from "../api/volume-mounts.ts";
import { KubeError } from "./errors.ts";
import type { ObjectMeta, Resource } from "./kube.ts";

/**
 * The kinds of Kubernetes' own that Squall reads, each with only the fields that it reads. Structure and names are
 * Kubernetes' (https://kubernetes.io/docs/reference/kubernetes-api/); lists that may be absent are empty.
 */

/** kubectl keeps a whole copy of the object here; nothing of ours reads it. */
const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration";

const texts = z.record(z.string(), z.string());

export const metaSchema: z.ZodType<ObjectMeta> = z.object({
  name: z.string(),
  namespace: z.string().optional(),
  uid: z.string(),
  // A dry run makes no version.
  resourceVersion: z.string().default(""),
  generation: z.number().optional(),
  creationTimestamp: z
    .string()
    .nullish()
    .transform((time) => time ?? ""),
  deletionTimestamp: z.string().optional(),
  labels: texts.optional(),
  annotations: texts
    .transform((all) => {
      if (!(LAST_APPLIED in all)) return all;
      const { [LAST_APPLIED]: _, ...rest } = all;
      return rest;
    })
    .optional(),
  finalizers: z.array(z.string()).optional(),
  ownerReferences: z
    .array(z.object({ kind: z.string(), name: z.string(), uid: z.string(), controller: z.boolean().optional() }))
    .optional(),
});

/** The Kubernetes API has null for absent in places. */
const list = <S extends z.ZodType>(item: S) =>
  z
    .array(item)
    .nullish()
    .transform((found): readonly z.output<S>[] => found ?? []);
const text = z.string().optional();
const count = z.number().optional();

interface Names {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly isNamespaced: boolean;
}

/** An object with thousands of targets can have a mistake in each. */
const MISTAKES_TOLD = 5;

/** A resource that is parsed by a schema; what breaks it throws a KubeError "unexpected". */
export function resourceOf<S extends z.ZodType>(names: Names, schema: S): Resource<z.output<S>> {
  return {
    ...names,
    parse(raw) {
      const result = schema.safeParse(raw);
      if (result.success) return result.data;
      const { issues } = result.error;
      const mistakes = issues.slice(0, MISTAKES_TOLD).map((issue) => `${issue.path.join(".")}: ${issue.message}`);
      if (issues.length > MISTAKES_TOLD) mistakes.push(`and ${issues.length - MISTAKES_TOLD} more`);
      throw new KubeError("unexpected", `The API server sent a ${names.kind} that cannot be read. ${mistakes.join("; ")}`);
    },
  };
}

const core = (kind: string, plural: string) => ({ group: "", version: "v1", kind, plural, isNamespaced: true });

const conditions = list(z.object({ type: z.string(), status: z.string(), reason: text }));
const containerStatuses = list(
  z.object({
    name: z.string(),
    ready: z.boolean().optional(),
    containerID: text,
    image: text,
    imageID: text,
    restartCount: count,
    state: z.object({ running: z.object({}).optional(), waiting: z.object({ reason: text }).optional() }).optional(),
  }),
);
const containers = list(z.object({ name: z.string(), image: text, restartPolicy: text }));
const podContainers = list(
  z.object({
    name: z.string(),
    image: text,
    restartPolicy: text,
    /** Where a pod with a sidecar has volumes; absent for none. */
    mounts: z
      .array(
        z.object({
          path: z.string(),
          volume: z.string(),
          source: z.string(),
          subPath: text,
          isComputed: z.boolean().optional(),
          isServed: z.boolean().optional(),
        }),
      )
      .optional(),
  }),
);

/** Ports that are probed, and mounts with what their volumes are, are said in many places of a pod, of which nothing else is kept. */
const withDigest = (raw: unknown): unknown => {
  if (!isJsonObject(raw) || !isJsonObject(raw["spec"])) return raw;
  const { spec } = raw;
  const probePorts = probePortsOf(spec);
  const mounts = readMounts(spec);
  if (probePorts.length === 0 && mounts.every((all) => all.length === 0)) return raw;
  const digested = objectsOf(spec["containers"]).map((container, index) => {
    const own = mounts[index] ?? [];
    return own.length === 0 ? container : { ...container, mounts: own };
  });
  return { ...raw, spec: { ...spec, containers: digested, ...(probePorts.length > 0 && { probePorts }) } };
};

const podSchema = z.object({
  metadata: metaSchema,
  spec: z.object({
    nodeName: text,
    hostNetwork: z.boolean().optional(),
    serviceAccountName: text,
    restartPolicy: text,
    schedulerName: text,
    containers: podContainers,
    initContainers: containers,
    /** TCP ports on which the kubelet probes it; absent for none. */
    probePorts: z.array(z.number()).optional(),
  }),
  status: z
    .object({
      phase: text,
      podIP: text,
      podIPs: list(z.object({ ip: z.string() })),
      hostIP: text,
      nominatedNodeName: text,
      conditions,
      containerStatuses,
      initContainerStatuses: containerStatuses,
    })
    .prefault({}),
});
export type Pod = z.output<typeof podSchema>;
export const pods = resourceOf(core("Pod", "pods"), z.preprocess(withDigest, podSchema));

const namespaceSchema = z.object({ metadata: metaSchema, status: z.object({ phase: text }).prefault({}) });
export type Namespace = z.output<typeof namespaceSchema>;
export const namespaces = resourceOf({ ...core("Namespace", "namespaces"), isNamespaced: false }, namespaceSchema);

const resourceQuotaSchema = z.object({
  metadata: metaSchema,
  spec: z.object({ hard: texts.prefault({}) }).prefault({}),
  status: z.object({ used: texts.prefault({}) }).prefault({}),
});
export type ResourceQuota = z.output<typeof resourceQuotaSchema>;
export const resourceQuotas = resourceOf(core("ResourceQuota", "resourcequotas"), resourceQuotaSchema);

const limitRangeSchema = z.object({
  metadata: metaSchema,
  spec: z.object({ limits: list(z.object({ type: text, min: texts.optional() })) }).prefault({}),
});
export type LimitRange = z.output<typeof limitRangeSchema>;
export const limitRanges = resourceOf(core("LimitRange", "limitranges"), limitRangeSchema);

/** A pod as admission left it, with all of its spec: the answer to a create is all there is. */
const podTrialSchema = z.object({ metadata: metaSchema, spec: z.record(z.string(), z.unknown()) });
export const podTrials = resourceOf(core("Pod", "pods"), podTrialSchema);

/** A pod as enrolment sees it: where it runs, and which of its volumes are claims. */
const enrollingPodSchema = z.object({
  metadata: metaSchema,
  spec: z.object({
    nodeName: text,
    volumes: list(
      z.object({
        name: z.string(),
        persistentVolumeClaim: z.object({ claimName: z.string() }).nullish(),
        ephemeral: z.object({}).nullish(),
      }),
    ),
  }),
});
export type EnrollingPod = z.output<typeof enrollingPodSchema>;
export const enrollingPods = resourceOf(core("Pod", "pods"), enrollingPodSchema);

const persistentVolumeClaimSchema = z.object({
  metadata: metaSchema,
  /** Its persistent volume; empty before it is bound. */
  spec: z.object({ volumeName: z.string().default("") }).prefault({}),
});
export const persistentVolumeClaims = resourceOf(core("PersistentVolumeClaim", "persistentvolumeclaims"), persistentVolumeClaimSchema);

const nodeSchema = z.object({
  metadata: metaSchema,
  spec: z.object({ unschedulable: z.boolean().optional(), podCIDRs: list(z.string()) }).prefault({}),
  status: z.object({ addresses: list(z.object({ type: z.string(), address: z.string() })), conditions }).prefault({}),
});
export type Node = z.output<typeof nodeSchema>;
export const nodes = resourceOf({ ...core("Node", "nodes"), isNamespaced: false }, nodeSchema);

const serviceSchema = z.object({
  metadata: metaSchema,
  spec: z.object({ type: text, clusterIP: text, clusterIPs: list(z.string()), selector: texts.optional() }).prefault({}),
});
export type Service = z.output<typeof serviceSchema>;
export const services = resourceOf(core("Service", "services"), serviceSchema);

const endpointSliceSchema = z.object({
  metadata: metaSchema,
  addressType: z.string(),
  endpoints: list(
    z.object({
      addresses: list(z.string()),
      conditions: z.object({ ready: z.boolean().nullish(), serving: z.boolean().nullish(), terminating: z.boolean().nullish() }).optional(),
      nodeName: text,
      targetRef: z.object({ kind: text, namespace: text, name: text, uid: text }).optional(),
    }),
  ),
  ports: list(z.object({ name: text, port: count, protocol: text })),
});
export type EndpointSlice = z.output<typeof endpointSliceSchema>;
/** Label of an EndpointSlice that names its Service. */
export const SERVICE_NAME_LABEL = "kubernetes.io/service-name";
export const endpointSlices = resourceOf(
  { group: "discovery.k8s.io", version: "v1", kind: "EndpointSlice", plural: "endpointslices", isNamespaced: true },
  endpointSliceSchema,
);

const eventSchema = z.object({
  metadata: metaSchema,
  involvedObject: z.object({ apiVersion: text, kind: text, namespace: text, name: text, uid: text }),
  type: text,
  reason: text,
  message: text,
  count,
  firstTimestamp: z.string().nullish(),
  lastTimestamp: z.string().nullish(),
  source: z.object({ component: text }).optional(),
  reportingComponent: text,
});
export type Event = z.output<typeof eventSchema>;
export const events = resourceOf(core("Event", "events"), eventSchema);

/** Values of `data` are base64. */
const secretSchema = z.object({ metadata: metaSchema, type: text, data: texts.prefault({}) });
export type Secret = z.output<typeof secretSchema>;
export const secrets = resourceOf(core("Secret", "secrets"), secretSchema);

const configMapSchema = z.object({ metadata: metaSchema, data: texts.prefault({}) });
export type ConfigMap = z.output<typeof configMapSchema>;
export const configMaps = resourceOf(core("ConfigMap", "configmaps"), configMapSchema);

const leaseSchema = z.object({
  metadata: metaSchema,
  spec: z
    .object({
      holderIdentity: z.string().nullish(),
      leaseDurationSeconds: z.number().nullish(),
      acquireTime: z.string().nullish(),
      renewTime: z.string().nullish(),
      leaseTransitions: z.number().nullish(),
    })
    .prefault({}),
});
export type Lease = z.output<typeof leaseSchema>;
export const leases = resourceOf(
  { group: "coordination.k8s.io", version: "v1", kind: "Lease", plural: "leases", isNamespaced: true },
  leaseSchema,
);

const webhookConfigurationSchema = z.object({
  metadata: metaSchema,
  webhooks: list(z.object({ name: z.string(), clientConfig: z.object({ caBundle: text }).prefault({}) })),
});
/** Of either kind: what Squall reads of them is the same. `caBundle` is base64 of PEM. */
export type WebhookConfiguration = z.output<typeof webhookConfigurationSchema>;
const admission = { group: "admissionregistration.k8s.io", version: "v1", isNamespaced: false };
export const mutatingWebhookConfigurations = resourceOf(
  { ...admission, kind: "MutatingWebhookConfiguration", plural: "mutatingwebhookconfigurations" },
  webhookConfigurationSchema,
);
export const validatingWebhookConfigurations = resourceOf(
  { ...admission, kind: "ValidatingWebhookConfiguration", plural: "validatingwebhookconfigurations" },
  webhookConfigurationSchema,
);

/** Create-only: the answer to a create is all there is. */
const tokenReviewSchema = z.object({
  status: z
    .object({
      authenticated: z.boolean().optional(),
      audiences: list(z.string()),
      error: text,
      user: z.object({ username: text, uid: text, extra: z.record(z.string(), z.array(z.string())).prefault({}) }).optional(),
    })
    .prefault({}),
});
export type TokenReview = z.output<typeof tokenReviewSchema>;
export const tokenReviews = resourceOf(
  { group: "authentication.k8s.io", version: "v1", kind: "TokenReview", plural: "tokenreviews", isNamespaced: false },
  tokenReviewSchema,
);

/** Create-only, too. What is not allowed outright is not allowed: the authorizer may also have had no opinion. */
const subjectAccessReviewSchema = z.object({ status: z.object({ allowed: z.boolean() }) });
export type SubjectAccessReview = z.output<typeof subjectAccessReviewSchema>;
export const subjectAccessReviews = resourceOf(
  {
    group: "authorization.k8s.io",
    version: "v1",
    kind: "SubjectAccessReview",
    plural: "subjectaccessreviews",
    isNamespaced: false,
  },
  subjectAccessReviewSchema,
);

const daemonSetSchema = z.object({
  metadata: metaSchema,
  spec: z.object({ template: z.object({ spec: z.object({ containers }) }) }),
  status: z
    .object({ observedGeneration: count, desiredNumberScheduled: count, updatedNumberScheduled: count, numberReady: count })
    .prefault({}),
});
export type DaemonSet = z.output<typeof daemonSetSchema>;
export const daemonSets = resourceOf(
  { group: "apps", version: "v1", kind: "DaemonSet", plural: "daemonsets", isNamespaced: true },
  daemonSetSchema,
);

const deploymentSchema = z.object({
  metadata: metaSchema,
  spec: z.object({ replicas: count }).prefault({}),
  status: z.object({ observedGeneration: count, replicas: count, readyReplicas: count, updatedReplicas: count }).prefault({}),
});
export type Deployment = z.output<typeof deploymentSchema>;
export const deployments = resourceOf(
  { group: "apps", version: "v1", kind: "Deployment", plural: "deployments", isNamespaced: true },
  deploymentSchema,
);

/** Of kinds that are only held and let go: no field of theirs is read. */
const metadataSchema = z.object({ metadata: metaSchema });
const rbac = { group: "rbac.authorization.k8s.io", version: "v1" };
export const clusterRoles = resourceOf({ ...rbac, kind: "ClusterRole", plural: "clusterroles", isNamespaced: false }, metadataSchema);
export const clusterRoleBindings = resourceOf(
  { ...rbac, kind: "ClusterRoleBinding", plural: "clusterrolebindings", isNamespaced: false },
  metadataSchema,
);
export const roles = resourceOf({ ...rbac, kind: "Role", plural: "roles", isNamespaced: true }, metadataSchema);
export const roleBindings = resourceOf({ ...rbac, kind: "RoleBinding", plural: "rolebindings", isNamespaced: true }, metadataSchema);
export const serviceAccounts = resourceOf(core("ServiceAccount", "serviceaccounts"), metadataSchema);
