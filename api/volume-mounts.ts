import { posix } from "node:path";
import { annotations, SIDECAR_CONTAINER } from "../common/names.ts";
import { servedBy } from "./injection-sidecar.ts";
import { kindOfVolume, servableSources } from "./injection-volumes.ts";
import { type JsonObject, objectsOf } from "./json.ts";
import type { Skip } from "./selection.ts";
import { listWords, show } from "./text.ts";

/** Where containers have volumes mounted, and which of these a file fault can reach. */

/** One mount of a container, with what is known of its volume. */
export interface VolumeMount {
  /** In the container, without a slash at its end. */
  readonly path: string;
  /** Name of the volume in the pod's spec. */
  readonly volume: string;
  /** What the volume is, as the pod's spec names it: `emptyDir`, `configMap`. */
  readonly source: string;
  /** The folder of the volume that is mounted, relative; absent for all of it. */
  readonly subPath?: string | undefined;
  /** The kubelet alone knows the folder (`subPathExpr`). */
  readonly isComputed?: boolean | undefined;
  /** The pod's sidecar serves the volume through FUSE. */
  readonly isServed?: boolean | undefined;
}

/** The kubelet puts its token there, in nearly every container. */
const API_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount";
const servable: readonly string[] = Object.keys(servableSources);

/** A path from the root as it is compared: without doubled slashes, and none at its end. */
export const plainPath = (path: string): string => posix.normalize(path).replace(/(?<=.)\/+$/, "");

/** Mounts of the containers of a pod, in the order of the containers; none where there is no sidecar, which must serve the volumes. */
export function readMounts(spec: JsonObject): readonly (readonly VolumeMount[])[] {
  const sidecar = objectsOf(spec["initContainers"]).find(({ name }) => name === SIDECAR_CONTAINER);
  if (sidecar === undefined) return [];
  const served = new Set<unknown>(servedBy(sidecar).map(({ name }) => name));
  const sources = new Map(objectsOf(spec["volumes"]).map((volume) => [volume["name"], kindOfVolume(volume)]));
  return objectsOf(spec["containers"]).map((container) =>
    objectsOf(container["volumeMounts"]).flatMap(({ name, mountPath, subPath, subPathExpr }): readonly VolumeMount[] => {
      if (typeof name !== "string" || typeof mountPath !== "string") return [];
      const path = plainPath(mountPath);
      if (path === API_TOKEN) return [];
      const folder = typeof subPath === "string" ? plainPath(`/${subPath}`).slice(1) : "";
      return [
        {
          path,
          volume: name,
          source: sources.get(name) ?? "emptyDir",
          ...(folder !== "" && { subPath: folder }),
          ...(typeof subPathExpr === "string" && subPathExpr !== "" && { isComputed: true }),
          ...(served.has(name) && { isServed: true }),
        },
      ];
    }),
  );
}

/** The mount that is exactly there. */
export const mountAt = (mounts: readonly VolumeMount[], path: string): VolumeMount | undefined =>
  mounts.find((mount) => mount.path === plainPath(path));

interface Mounting {
  readonly metadata: { readonly annotations?: Readonly<Record<string, string>> | undefined };
  readonly spec: { readonly containers: readonly { readonly name: string; readonly mounts?: readonly VolumeMount[] | undefined }[] };
}

/** Why files of a volume that is mounted at this path in each of these containers cannot be faulted; undefined where they can. */
export function whyNoVolume({ metadata, spec }: Mounting, containers: readonly string[], path: string): Skip | undefined {
  for (const { name, mounts = [] } of spec.containers) {
    if (!containers.includes(name)) continue;
    const mount = mountAt(mounts, path);
    const message = mount === undefined ? undefined : whyNotServed(mount, metadata.annotations?.[annotations.volumes] ?? "");
    if (mount === undefined)
      return { reason: "NoVolume", message: `Container ${name} has no volume at ${show(path)}. ${suggestMount(mounts, path)}` };
    if (message !== undefined)
      return { reason: "VolumeNotServed", message: `Container ${name} has volume ${mount.volume} at ${show(mount.path)}, ${message}` };
  }
  return undefined;
}

function whyNotServed({ volume, source, isComputed, isServed }: VolumeMount, asked: string): string | undefined {
  if (isServed !== true) {
    if (!servable.includes(source)) return `which is of the kind ${source}. Files of ${listWords(servable)} can be faulted.`;
    const wasAsked = asked.split(",").some((name) => name.trim() === volume);
    if (wasAsked)
      return `which ${annotations.volumes} names and which is not served all the same: a warning (VolumeNotServed) said why when the pod was made.`;
    return `which is not served through FUSE. Add it to the annotation ${annotations.volumes} of the pod template, and roll the workload out.`;
  }
  return isComputed === true ? "by subPathExpr, so that only the kubelet knows which folder of it. Write subPath instead." : undefined;
}

/** More would only make the status large. */
const MOST_NAMED = 8;

function suggestMount(mounts: readonly VolumeMount[], path: string): string {
  const around = mounts.find((mount) => plainPath(path).startsWith(`${mount.path}/`));
  if (around !== undefined)
    return `It is inside volume ${around.volume}: write volumePath: ${around.path} and path: ${plainPath(path)}/**.`;
  const name = (all: readonly VolumeMount[]): string =>
    [
      ...all.slice(0, MOST_NAMED).map((mount) => `${show(mount.path)} (volume ${mount.volume})`),
      ...(all.length > MOST_NAMED ? [`${all.length - MOST_NAMED} more`] : []),
    ].join(", ");
  const served = mounts.filter(({ isServed }) => isServed === true);
  if (served.length > 0) return `Served through FUSE are ${name(served)}.`;
  const possible = mounts.filter(({ source }) => servable.includes(source));
  if (possible.length === 0) return `It mounts no volume that can be served: ${listWords(servable, "or")}.`;
  return `None of its volumes is served through FUSE: name some in the annotation ${annotations.volumes} of the pod template. It has ${name(possible)}.`;
}
