import { ports, SIDECAR_CONTAINER, SIDECAR_GID } from "../common/names.ts";
import { bundlePath, type FilesDriver, type ServedVolume, sidecarPaths, sidecarVariables } from "../common/sidecar-layout.ts";
import { type JsonObject, objectsOf } from "./json.ts";
import { probePortsOf } from "./probe-ports.ts";
import type { Quality } from "./quality-of-service.ts";
import { parseQuantity } from "./quantity.ts";

/** What a namespace may say of the sidecars of its pods. */
export interface SidecarSettings {
  readonly image: string;
  readonly cpu: string | undefined;
  /** Of the sidecar without the servers of volumes, which get theirs on top of it. */
  readonly memory: string | undefined;
  readonly filesDriver: FilesDriver;
}

/** Volumes of the sidecar's own. */
export const ownVolumes = { token: "squall-token", ca: "squall-ca", state: "squall-state", noApiToken: "squall-no-api-token" } as const;

/** NET_RAW: raw sockets and iptables-legacy need it. */
const networkCapabilities = ["NET_ADMIN", "NET_RAW"];
/** To act for whichever user of the application asks for a file operation. */
const fileCapabilities = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"];

/** Memory of the process that serves one volume. */
const SERVER_REQUEST_MIB = 48;
const SERVER_LIMIT_MIB = 128;

export interface SidecarContext {
  readonly spec: JsonObject;
  readonly facts: { readonly enrolmentAddress: string; readonly logLevel: string };
  readonly settings: SidecarSettings;
  readonly quality: Quality;
  readonly served: readonly ServedVolume[];
}

/** The sidecar's container. */
export function planSidecar({ spec, facts, settings, quality, served }: SidecarContext): JsonObject {
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
      ...(served.length === 0 ? [] : [{ name: sidecarVariables.volumes, value: JSON.stringify(served) }]),
    ],
    resources: planResources(quality, settings, served.length),
    securityContext: {
      // Said outright, whatever the pod says: capabilities of a user other than root are dropped at exec.
      runAsUser: 0,
      runAsGroup: SIDECAR_GID,
      runAsNonRoot: false,
      privileged: false,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"], add: [...networkCapabilities, ...(served.length === 0 ? [] : fileCapabilities)] },
      seccompProfile: { type: "RuntimeDefault" },
    },
    terminationMessagePolicy: "FallbackToLogsOnError",
    volumeMounts: [
      { name: ownVolumes.token, mountPath: parentOf(sidecarPaths.token), readOnly: true },
      { name: ownVolumes.ca, mountPath: parentOf(sidecarPaths.ca), readOnly: true },
      { name: ownVolumes.state, mountPath: sidecarPaths.state },
      { name: ownVolumes.noApiToken, mountPath: sidecarPaths.apiToken, readOnly: true },
    ],
  };
}

/** Keeps the pod's class: a Guaranteed pod needs requests equal to limits everywhere, a BestEffort pod none at all. */
function planResources(quality: Quality, { cpu, memory }: SidecarSettings, servers: number): JsonObject {
  const limit = addMebibytes(memory ?? "160Mi", servers * SERVER_LIMIT_MIB);
  switch (quality) {
    case "BestEffort":
      return {};
    case "Guaranteed": {
      // The application's file operations wait for the sidecar, which must not stand still for most of the time.
      const both = { cpu: cpu ?? (servers === 0 ? "50m" : "500m"), memory: limit };
      return { requests: both, limits: both };
    }
    case "Burstable":
      return {
        requests: { cpu: cpu ?? (servers === 0 ? "10m" : "50m"), memory: addMebibytes("48Mi", servers * SERVER_REQUEST_MIB) },
        limits: { memory: limit },
      };
  }
}

/** The sum as Kubernetes writes it; the text as it is where nothing is added. */
function addMebibytes(amount: string, mebibytes: number): string {
  if (mebibytes === 0) return amount;
  const sum = (parseQuantity(amount) ?? 0) + mebibytes * 2 ** 20;
  return sum % 2 ** 20 === 0 ? `${sum / 2 ** 20}Mi` : String(Math.ceil(sum));
}

/** Names of the volumes that a sidecar was told to serve. */
export function servedBy(sidecar: JsonObject): readonly { readonly name: string }[] {
  const text = objectsOf(sidecar["env"]).find(({ name }) => name === sidecarVariables.volumes)?.["value"];
  try {
    const found: unknown = typeof text === "string" ? JSON.parse(text) : [];
    return objectsOf(found).flatMap(({ name }) => (typeof name === "string" ? [{ name }] : []));
  } catch {
    return []; // written by somebody else
  }
}

const parentOf = (path: string): string => path.slice(0, path.lastIndexOf("/"));
