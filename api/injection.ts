import type { Operation } from "fast-json-patch";
import { annotations as names, CA_CONFIGMAP, ENROLMENT_AUDIENCE, labels, OPTED_IN, SIDECAR_CONTAINER } from "../common/names.ts";
import { bundlePath } from "../common/sidecar-layout.ts";
import { ownVolumes, planSidecar, servedBy, type SidecarSettings } from "./injection-sidecar.ts";
import { namespaceFilesDriver, planFilesDriver, servedThrough } from "./injection-libfuse.ts";
import { parseVerdict } from "./injection-verdict.ts";
import { planPropagation, planServedVolumes } from "./injection-volumes.ts";
import { isJsonObject, type JsonObject, objectOf, objectsOf } from "./json.ts";
import { planMeshExclusions } from "./mesh.ts";
import { qualityOf } from "./quality-of-service.ts";

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
  /** There is a sidecar of ours already, and all that it needs: a second call of the webhook for one pod. */
  | { readonly do: "nothing" };

/** Annotations of a namespace that change the sidecars of its pods. */
export const namespaceSettings = {
  image: "squall.dev/sidecar-image",
  cpu: "squall.dev/sidecar-cpu",
  memory: "squall.dev/sidecar-memory",
  filesDriver: namespaceFilesDriver,
} as const;

const OLDEST_MINOR = 29;
const QUANTITY = /^\d{1,9}(\.\d{1,3})?(m|k|Ki|M|Mi|G|Gi)?$/;
const IMAGE = /^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,300}$/;

/**
 * What has to change in a pod to give it the sidecar, as JSON Patch (RFC 6902). Adds what is ours and touches nothing else, least of all the
 * application's command, but for the propagation of mounts of volumes that the pod wants to have served. `pod` is the object as the API server sent it. A trial is a dry run that is to find out what the policies of the
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
  if (present) {
    if (!isOurs(present)) return skip("NameTaken");
    const patch = planPropagation(spec, servedBy(present));
    return patch.length === 0 ? { do: "nothing" } : { do: "inject", patch, warnings: [] };
  }
  if (isNameTaken(spec)) return skip("NameTaken");
  if (spec["hostNetwork"] === true) return skip("HostNetwork");
  if (objectOf(spec["os"])["name"] === "windows" || objectOf(spec["nodeSelector"])["kubernetes.io/os"] === "windows")
    return skip("Windows");
  if (facts.kubernetesMinor !== undefined && facts.kubernetesMinor < OLDEST_MINOR) return skip("KubernetesTooOld");
  const quality = qualityOf(spec);
  const verdicts = isTrial ? {} : parseVerdict(facts.namespaceAnnotations[names.injectionVerdict]);
  if (!isTrial) {
    const verdict = verdicts[quality];
    if (verdict?.is === "refused") return skip("NamespaceRefuses", `${verdict.by}: ${verdict.message}`);
    if (!facts.isImageReady) return skip("ImageNotReady");
  }

  const { settings, warnings } = readNamespaceSettings(facts);
  const volumes = planServedVolumes(metadata, spec, { verdict: verdicts[`${quality} with volumes`], driver: settings.filesDriver });
  const { sidecar, warnings: driverWarnings } = planFilesDriver(
    planSidecar({ spec, facts, settings, quality, served: servedThrough(settings.filesDriver, volumes.served, spec) }),
    {
      driver: settings.filesDriver,
      asked: objectOf(metadata["annotations"])[namespaceSettings.filesDriver],
      served: volumes.served,
    },
  );
  const containerName = objectsOf(spec["containers"])[0]?.["name"];
  const annotations = {
    [names.injected]: `${facts.version} network${volumes.served.length === 0 ? "" : " io"}`,
    ...planMeshExclusions(metadata, spec),
    ...(typeof containerName === "string" && objectOf(metadata["annotations"])[DEFAULT_CONTAINER] === undefined
      ? { [DEFAULT_CONTAINER]: containerName }
      : {}),
  };
  const patch: readonly Operation[] = [
    ...planAnnotations(metadata, annotations),
    // Before the sidecar moves the init containers on by one.
    ...volumes.patch,
    ...(Array.isArray(spec["initContainers"])
      ? [{ op: "add", path: "/spec/initContainers/0", value: sidecar } as const]
      : [{ op: "add", path: "/spec/initContainers", value: [sidecar] } as const]),
    ...planVolumes(spec),
  ];
  return { do: "inject", patch, warnings: [...warnings, ...volumes.warnings, ...driverWarnings] };
}

/** kubectl's: which container `kubectl exec` and `logs` mean. */
const DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container";

/** A setting that cannot be read is told and left out: it must not keep a pod from starting. */
function readNamespaceSettings({ image, namespaceAnnotations }: InjectionFacts): {
  readonly settings: SidecarSettings;
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
    filesDriver:
      read(namespaceSettings.filesDriver, /^(kernel|libfuse)$/, "libfuse") === "libfuse" ? ("libfuse" as const) : ("kernel" as const),
  };
  return { settings, warnings };
}

function planVolumes(spec: JsonObject): readonly Operation[] {
  const added = [
    {
      name: ownVolumes.token,
      projected: { sources: [{ serviceAccountToken: { audience: ENROLMENT_AUDIENCE, expirationSeconds: 3600, path: "token" } }] },
    },
    { name: ownVolumes.ca, configMap: { name: CA_CONFIGMAP, optional: true } },
    { name: ownVolumes.state, emptyDir: { sizeLimit: "16Mi" } },
    { name: ownVolumes.noApiToken, emptyDir: { sizeLimit: "1Mi" } },
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
  const ours: readonly unknown[] = Object.values(ownVolumes);
  return (
    objectsOf(spec["volumes"]).some(({ name }) => ours.includes(name)) ||
    [...objectsOf(spec["containers"]), ...objectsOf(spec["initContainers"])].some(({ name }) => name === SIDECAR_CONTAINER)
  );
}
