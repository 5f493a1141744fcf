import type { Operation } from "fast-json-patch";
import { foldersOfOwnKinds } from "../common/kubelet-folders.ts";
import { annotations as names, SIDECAR_CONTAINER } from "../common/names.ts";
import type { FilesDriver, ServedVolume } from "../common/sidecar-layout.ts";
import type { ClassVerdict } from "./injection-verdict.ts";
import { isJsonObject, type JsonObject, objectOf, objectsOf } from "./json.ts";
import { listWords } from "./text.ts";

/** Volumes of a pod that are served through FUSE, and what that changes in its containers. */
export interface ServedVolumesPlan {
  readonly served: readonly ServedVolume[];
  /** Of the pod as it came: to be applied before anything is added to its containers. */
  readonly patch: readonly Operation[];
  readonly warnings: readonly string[];
}

/** Kinds of volumes that can be served, as the pod's spec names them. The kubelet itself writes into the others, or they are no folders of the pod's own. */
export const servableSources: Readonly<Record<string, ServedVolume["source"]>> = {
  emptyDir: "emptyDir",
  persistentVolumeClaim: "claim",
  ephemeral: "claim",
};
const SOURCES = `${listWords(Object.keys(servableSources))} can be served`;
/** Each has a process and its memory. */
export const MOST_VOLUMES = 16;
/** More of them help nobody, and the API server cuts what is longer than 4 KiB in all. */
const MOST_WARNINGS = 8;

/**
 * What the pod's annotation `squall.dev/volumes` comes to. A volume that cannot be served is left as it is, with a warning that says why: the
 * pod is to start. So are all where the policies of the namespace refuse a sidecar that serves any. Propagation lets a mount of the daemon's that comes late, or goes, reach containers that run.
 */
export function planServedVolumes(
  metadata: JsonObject,
  spec: JsonObject,
  { verdict, driver }: { readonly verdict: ClassVerdict | undefined; readonly driver: FilesDriver },
): ServedVolumesPlan {
  const text = objectOf(metadata["annotations"])[names.volumes];
  if (typeof text !== "string") return { served: [], patch: [], warnings: [] };
  if (verdict?.is === "refused") {
    const why = `The policies of the namespace refuse a sidecar that serves volumes. ${verdict.by}: ${verdict.message}`;
    return { served: [], patch: [], warnings: [`squall: VolumeNotServed: ${why}`] };
  }
  const asked = [
    ...new Set(
      text
        .split(",")
        .map((name) => name.trim())
        .filter((name) => name !== ""),
    ),
  ];
  const served: ServedVolume[] = [];
  const refused: string[] = [];
  for (const name of asked) {
    const judged =
      served.length < MOST_VOLUMES ? judgeVolume(name, spec, driver) : `More than ${MOST_VOLUMES} volumes of one pod are not served.`;
    if (typeof judged === "string") refused.push(`squall: VolumeNotServed: ${name.slice(0, 63)}: ${judged}`);
    else served.push(judged);
  }
  if (asked.length === 0)
    refused.push(`squall: VolumeNotServed: the annotation ${names.volumes} names no volume. Write one such as data,cache.`);
  const warnings =
    refused.length <= MOST_WARNINGS
      ? refused
      : [...refused.slice(0, MOST_WARNINGS - 1), `squall: VolumeNotServed: and ${refused.length - MOST_WARNINGS + 1} more.`];
  return { served, patch: planPropagation(spec, served), warnings };
}

/** What is left to do in a pod whose sidecar serves these volumes already: containers may have been added after it. */
export function planPropagation(spec: JsonObject, served: readonly Pick<ServedVolume, "name">[]): readonly Operation[] {
  const isServed = new Set<unknown>(served.map(({ name }) => name));
  return mountsOf(spec)
    .filter(({ mount }) => isServed.has(mount["name"]) && !propagates(mount) && !isRecursivelyReadOnly(mount))
    .map(({ path }) => ({ op: "add", path: `${path}/mountPropagation`, value: "HostToContainer" }));
}

/** Whether a container mounts a volume `readOnly`. */
export const hasReadOnlyMount = (name: string, spec: JsonObject): boolean =>
  mountsOf(spec).some(({ mount }) => mount["name"] === name && mount["readOnly"] === true);

/** As the pod's spec names it, such as `configMap`. A volume that says nothing of its kind is an emptyDir. */
export const kindOfVolume = (volume: JsonObject): string =>
  Object.keys(volume).find((key) => key !== "name" && volume[key] !== undefined && volume[key] !== null) ?? "emptyDir";

/** The volume as it will be served, or why it will not. */
function judgeVolume(name: string, spec: JsonObject, driver: FilesDriver): ServedVolume | string {
  const all = objectsOf(spec["volumes"]);
  const volume = all.find((one) => one["name"] === name);
  if (volume === undefined)
    return `The pod has no such volume. It has ${
      all
        .flatMap((one) => (typeof one["name"] === "string" ? [one["name"]] : []))
        .join(", ")
        .slice(0, 100) || "none"
    }.`;
  const kind = kindOfVolume(volume);
  const source = servableSources[kind];
  if (source === undefined) return `It is of the kind ${kind.slice(0, 40)}; ${SOURCES}.`;
  const medium = objectOf(volume["emptyDir"])["medium"];
  if (typeof medium === "string" && medium.startsWith("HugePages")) return "It is made of huge pages, which only memory maps can use.";
  const twin = source === "claim" && driver === "kernel" ? all.find((one) => one !== volume && isOfSameClaim(one, volume)) : undefined;
  if (twin !== undefined)
    return `Volume ${String(twin["name"]).slice(0, 63)} is of the same claim, and both are one folder on the node. Mount one volume of the claim at both places.`;
  if (spec["hostUsers"] === false) return "The pod has users of its own (hostUsers: false), for which FUSE cannot act.";
  const containers = containersOf(spec).map(({ container }) => container);
  if (containers.some((one) => objectsOf(one["volumeDevices"]).some((device) => device["name"] === name)))
    return "It is used as a raw block device (volumeDevices), which has no files.";
  const mounts = mountsOf(spec).filter(({ mount }) => mount["name"] === name);
  if (mounts.length === 0) return "No container mounts it.";
  if (mounts.some(({ mount }) => isRecursivelyReadOnly(mount)))
    return "It is mounted with recursiveReadOnly, which forbids mountPropagation.";
  // Only where the names are needed: a pod with one claim is served without asking anybody.
  const isOneOfSeveral = source === "claim" && driver === "kernel" && all.filter(isNamedByDriver).length > 1;
  return { name, source, ...(isOneOfSeveral && { isOneOfSeveral }) };
}

/** Whether its folder on the node is among those that drivers have, where a claim's has another name than the pod's. */
const isNamedByDriver = (volume: JsonObject): boolean => !foldersOfOwnKinds.has(kindOfVolume(volume));

function isOfSameClaim(one: JsonObject, other: JsonObject): boolean {
  const claim = objectOf(one["persistentVolumeClaim"])["claimName"];
  return typeof claim === "string" && claim === objectOf(other["persistentVolumeClaim"])["claimName"];
}

/** The API server refuses pods with such a mount that propagates. */
const isRecursivelyReadOnly = ({ recursiveReadOnly: how }: JsonObject): boolean => how === "Enabled" || how === "IfPossible";

const propagates = ({ mountPropagation: how }: JsonObject): boolean => how === "HostToContainer" || how === "Bidirectional";

/** Containers of the application and where they stand in the pod. */
function containersOf(spec: JsonObject): readonly { readonly container: JsonObject; readonly path: string }[] {
  return ["containers", "initContainers"].flatMap((list) =>
    entriesOf(spec[list])
      .filter(([, container]) => container["name"] !== SIDECAR_CONTAINER)
      .map(([index, container]) => ({ container, path: `/spec/${list}/${index}` })),
  );
}

function mountsOf(spec: JsonObject): readonly { readonly mount: JsonObject; readonly path: string }[] {
  return containersOf(spec).flatMap(({ container, path }) =>
    entriesOf(container["volumeMounts"]).map(([index, mount]) => ({ mount, path: `${path}/volumeMounts/${index}` })),
  );
}

/** Objects of a list with their places in it. */
const entriesOf = (value: unknown): readonly (readonly [number, JsonObject])[] =>
  Array.isArray(value)
    ? value.flatMap((entry: unknown, index): (readonly [number, JsonObject])[] => (isJsonObject(entry) ? [[index, entry]] : []))
    : [];
