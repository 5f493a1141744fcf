import type { Operation } from "fast-json-patch";
import {
  annotations as names,
  CA_CONFIGMAP,
  ENROLMENT_AUDIENCE,
  labels,
  OPTED_IN,
  ports,
  SIDECAR_CONTAINER,
  SIDECAR_GID,
} from "../common/names.ts";
import { bundlePath, sidecarPaths, sidecarVariables } from "../common/sidecar-layout.ts";
import { parseVerdict } from "./injection-verdict.ts";
import { isJsonObject, type JsonObject } from "./json.ts";
import { planMeshExclusions } from "./mesh.ts";
import { probePortsOf } from "./probe-ports.ts";
import { type Quality, qualityOf } from "./quality-of-service.ts";

/** Why a pod that asked for a sidecar is left as it came, each with the sentence that people read. */
export const skipSentences = {
  NotOptedIn: "The pod or its namespace does not have the label squall.dev/inject: enabled.",
  HostNetwork: "The pod is on its node's network; a fault there would hit the node and everything on it.",
  Windows: "The pod is for Windows nodes; the sidecar needs Linux.",
  NameTaken: "The pod has a container or volume of its own with a name that begins with squall-. Rename it.",
  ImageNotReady:
    "Fewer than half of the nodes have the sidecar's image yet, and pods are not made to wait for it. See: kubectl get daemonset -n squall-system squall-image",
  KubernetesTooOld: "Native sidecars need Kubernetes 1.29 or newer.",
  NamespaceRefuses: "The policies of the namespace refuse such a pod with a sidecar.",
  InternalError: "The injector failed; see its log. The pod was left as it came.",
} as const satisfies Readonly<Record<string, string>>;
export type SkipCode = keyof typeof skipSentences;

/** What the injector knows besides the pod. */
export interface InjectionFacts {
  readonly image: string;
  readonly version: string;
  readonly enrolmentAddress: string;
  readonly logLevel: string;
  /** Whether enough nodes have the image that pods may need it. */
  readonly isImageReady: boolean;
  /** 34 for Kubernetes 1.34; undefined before it is known. */
  readonly kubernetesMinor: number | undefined;
  /** Annotations of the namespace: they may name another image and other resources, and say what its policies refuse. */
  readonly namespaceAnnotations: Readonly<Record<string, string>>;
}

export type Injection =
  | { readonly do: "inject"; readonly patch: readonly Operation[]; readonly warnings: readonly string[] }
  | { readonly do: "skip"; readonly code: SkipCode; readonly message: string; readonly patch: readonly Operation[] }
  /** There is a sidecar of ours already: a second call of the webhook for one pod. */
  | { readonly do: "nothing" };

/** Annotations of a namespace that change the sidecars of its pods. */
export const namespaceSettings = {
  image: "squall.dev/sidecar-image",
  cpu: "squall.dev/sidecar-cpu",
  memory: "squall.dev/sidecar-memory",
} as const;

const volumes = { token: "squall-token", ca: "squall-ca", state: "squall-state", noApiToken: "squall-no-api-token" } as const;
const OLDEST_MINOR = 29;
const QUANTITY = /^\d{1,9}(\.\d{1,3})?(m|k|Ki|M|Mi|G|Gi)?$/;
const IMAGE = /^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,300}$/;

/**
 * What has to change in a pod to give it the sidecar, as JSON Patch (RFC 6902). Adds what is ours and touches nothing else, least of all the
 * application's command. `pod` is the object as the API server sent it. A trial is a dry run that is to find out what the policies of the
 * namespace say to the sidecar, now or once enough nodes have the image.
 */
export function planInjection(
  pod: JsonObject,
  facts: InjectionFacts,
  { isTrial }: { readonly isTrial: boolean } = { isTrial: false },
): Injection {
  const metadata = objectOf(pod["metadata"]);
  const spec = objectOf(pod["spec"]);
  const skip = (code: SkipCode, detail?: string): Injection => ({
    do: "skip",
    code,
    message: detail === undefined ? skipSentences[code] : `${skipSentences[code]} ${detail}`,
    patch: planAnnotations(metadata, { [names.injected]: code }),
  });

  if (objectOf(metadata["labels"])[labels.inject] !== OPTED_IN) return skip("NotOptedIn");
  const initContainers = objectsOf(spec["initContainers"]);
  const present = initContainers.find(({ name }) => name === SIDECAR_CONTAINER);
  if (present) return isOurs(present) ? { do: "nothing" } : skip("NameTaken");
  if (isNameTaken(spec)) return skip("NameTaken");
  if (spec["hostNetwork"] === true) return skip("HostNetwork");
  if (objectOf(spec["os"])["name"] === "windows" || objectOf(spec["nodeSelector"])["kubernetes.io/os"] === "windows")
    return skip("Windows");
  if (facts.kubernetesMinor !== undefined && facts.kubernetesMinor < OLDEST_MINOR) return skip("KubernetesTooOld");
  const quality = qualityOf(spec);
  if (!isTrial) {
    const verdict = parseVerdict(facts.namespaceAnnotations[names.injectionVerdict])[quality];
    if (verdict?.is === "refused") return skip("NamespaceRefuses", `${verdict.by}: ${verdict.message}`);
    if (!facts.isImageReady) return skip("ImageNotReady");
  }

  const { settings, warnings } = readNamespaceSettings(facts);
  const sidecar = planSidecar({ spec, facts, settings, quality });
  const containerName = objectsOf(spec["containers"])[0]?.["name"];
  const annotations = {
    [names.injected]: `${facts.version} network`,
    ...planMeshExclusions(metadata, spec),
    ...(typeof containerName === "string" && objectOf(metadata["annotations"])[DEFAULT_CONTAINER] === undefined
      ? { [DEFAULT_CONTAINER]: containerName }
      : {}),
  };
  const patch: readonly Operation[] = [
    ...planAnnotations(metadata, annotations),
    ...(Array.isArray(spec["initContainers"])
      ? [{ op: "add", path: "/spec/initContainers/0", value: sidecar } as const]
      : [{ op: "add", path: "/spec/initContainers", value: [sidecar] } as const]),
    ...planVolumes(spec),
  ];
  return { do: "inject", patch, warnings: [...warnings, ...warnAboutVolumes(metadata)] };
}

/** kubectl's: which container `kubectl exec` and `logs` mean. */
const DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container";

interface Settings {
  readonly image: string;
  readonly cpu: string | undefined;
  readonly memory: string | undefined;
}

/** A setting that cannot be read is told and left out: it must not keep a pod from starting. */
function readNamespaceSettings({ image, namespaceAnnotations }: InjectionFacts): {
  readonly settings: Settings;
  readonly warnings: readonly string[];
} {
  const warnings: string[] = [];
  const read = (key: string, pattern: RegExp, example: string): string | undefined => {
    const text = namespaceAnnotations[key];
    if (text === undefined || pattern.test(text)) return text;
    warnings.push(
      `squall: the namespace's annotation ${key} is ${JSON.stringify(text.slice(0, 40))}, which cannot be used; the default is. Write one such as ${example}.`,
    );
    return undefined;
  };
  const settings = {
    image: read(namespaceSettings.image, IMAGE, "registry.example.com/squall:0.1.0") ?? image,
    cpu: read(namespaceSettings.cpu, QUANTITY, "20m"),
    memory: read(namespaceSettings.memory, QUANTITY, "96Mi"),
  };
  return { settings, warnings };
}

function warnAboutVolumes(metadata: JsonObject): readonly string[] {
  return objectOf(metadata["annotations"])["squall.dev/volumes"] === undefined
    ? []
    : ["squall: NotYetSupported: the annotation squall.dev/volumes has no effect yet; the pod gets a sidecar for network faults only."];
}

interface SidecarContext {
  readonly spec: JsonObject;
  readonly facts: InjectionFacts;
  readonly settings: Settings;
  readonly quality: Quality;
}

function planSidecar({ spec, facts, settings, quality }: SidecarContext): JsonObject {
  const field = (name: string, fieldPath: string): JsonObject => ({ name, valueFrom: { fieldRef: { fieldPath } } });
  return {
    name: SIDECAR_CONTAINER,
    image: settings.image,
    imagePullPolicy: "IfNotPresent",
    restartPolicy: "Always",
    // It is idle most of its life: a small young generation, no garbage from its start, none of Node's 140 root certificates.
    command: ["node", "--max-semi-space-size=1", "--expose-gc", "--use-openssl-ca", bundlePath("sidecar")],
    lifecycle: { postStart: { exec: { command: ["node", bundlePath("sidecar"), "wait"] } } },
    ports: [{ name: "squall", containerPort: ports.sidecar, protocol: "TCP" }],
    env: [
      field(sidecarVariables.podUid, "metadata.uid"),
      field(sidecarVariables.podName, "metadata.name"),
      field(sidecarVariables.podNamespace, "metadata.namespace"),
      field(sidecarVariables.podIps, "status.podIPs"),
      field(sidecarVariables.hostIps, "status.hostIPs"),
      { name: sidecarVariables.probePorts, value: probePortsOf(spec).join(",") },
      { name: sidecarVariables.enrolmentAddress, value: facts.enrolmentAddress },
      { name: sidecarVariables.logLevel, value: facts.logLevel },
    ],
    resources: planResources(quality, settings),
    securityContext: {
      // Said outright, whatever the pod says: capabilities of a user other than root are dropped at exec.
      runAsUser: 0,
      runAsGroup: SIDECAR_GID,
      runAsNonRoot: false,
      privileged: false,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"], add: ["NET_ADMIN", "NET_RAW"] },
      seccompProfile: { type: "RuntimeDefault" },
    },
    terminationMessagePolicy: "FallbackToLogsOnError",
    volumeMounts: [
      { name: volumes.token, mountPath: parentOf(sidecarPaths.token), readOnly: true },
      { name: volumes.ca, mountPath: parentOf(sidecarPaths.ca), readOnly: true },
      { name: volumes.state, mountPath: sidecarPaths.state },
      { name: volumes.noApiToken, mountPath: sidecarPaths.apiToken, readOnly: true },
    ],
  };
}

/** Keeps the pod's class: a Guaranteed pod needs requests equal to limits everywhere, a BestEffort pod none at all. */
function planResources(quality: Quality, { cpu, memory }: Settings): JsonObject {
  switch (quality) {
    case "BestEffort":
      return {};
    case "Guaranteed": {
      const both = { cpu: cpu ?? "50m", memory: memory ?? "160Mi" };
      return { requests: both, limits: both };
    }
    case "Burstable":
      return { requests: { cpu: cpu ?? "10m", memory: "48Mi" }, limits: { memory: memory ?? "160Mi" } };
  }
}

function planVolumes(spec: JsonObject): readonly Operation[] {
  const added = [
    {
      name: volumes.token,
      projected: { sources: [{ serviceAccountToken: { audience: ENROLMENT_AUDIENCE, expirationSeconds: 3600, path: "token" } }] },
    },
    { name: volumes.ca, configMap: { name: CA_CONFIGMAP, optional: true } },
    { name: volumes.state, emptyDir: { sizeLimit: "16Mi" } },
    { name: volumes.noApiToken, emptyDir: { sizeLimit: "1Mi" } },
  ];
  return Array.isArray(spec["volumes"])
    ? added.map((volume) => ({ op: "add", path: "/spec/volumes/-", value: volume }))
    : [{ op: "add", path: "/spec/volumes", value: added }];
}

function planAnnotations(metadata: JsonObject, added: Readonly<Record<string, string>>): readonly Operation[] {
  if (!isJsonObject(metadata["annotations"])) return [{ op: "add", path: "/metadata/annotations", value: added }];
  return Object.entries(added).map(([key, value]) => ({
    op: "add",
    path: `/metadata/annotations/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`,
    value,
  }));
}

function isOurs({ command }: JsonObject): boolean {
  return Array.isArray(command) && command.includes(bundlePath("sidecar"));
}

function isNameTaken(spec: JsonObject): boolean {
  const ours: readonly unknown[] = Object.values(volumes);
  return (
    objectsOf(spec["volumes"]).some(({ name }) => ours.includes(name)) ||
    [...objectsOf(spec["containers"]), ...objectsOf(spec["initContainers"])].some(({ name }) => name === SIDECAR_CONTAINER)
  );
}

const parentOf = (path: string): string => path.slice(0, path.lastIndexOf("/"));
const objectOf = (value: unknown): JsonObject => (isJsonObject(value) ? value : {});
const objectsOf = (value: unknown): readonly JsonObject[] => (Array.isArray(value) ? value.filter(isJsonObject) : []);
