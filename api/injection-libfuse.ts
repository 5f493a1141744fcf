import { type FilesDriver, type ServedVolume, sidecarPaths, sidecarVariables } from "../common/sidecar-layout.ts";
import { hasReadOnlyMount } from "./injection-volumes.ts";
import { type JsonObject, objectOf, objectsOf } from "./json.ts";

/** Volumes as this driver needs to know them. */
export const servedThrough = (driver: FilesDriver, served: readonly ServedVolume[], spec: JsonObject): readonly ServedVolume[] =>
  driver === "kernel"
    ? served
    : served.map((volume) => (hasReadOnlyMount(volume.name, spec) ? { ...volume, hasReadOnlyMount: true } : volume));

/** An annotation of namespaces. `asked`: what the pod has of it, which has no say. */
export const namespaceFilesDriver = "squall.dev/files-driver";

/**
 * What the way in which volumes are served changes in the sidecar's container. `libfuse` is for nodes without the daemon: the sidecar mounts the volumes itself,
 * and only a privileged container may have mounts of its own reach others (`mountPropagation: Bidirectional`). The namespace must have said so.
 */
export function planFilesDriver(
  sidecar: JsonObject,
  { driver, asked, served }: { readonly driver: FilesDriver; readonly asked: unknown; readonly served: readonly ServedVolume[] },
): { readonly sidecar: JsonObject; readonly warnings: readonly string[] } {
  if (driver === "kernel")
    return {
      sidecar,
      warnings:
        asked === undefined
          ? []
          : [
              `squall: FilesDriverNotAllowed: the annotation ${namespaceFilesDriver} of the pod is left out: only the namespace can allow a privileged sidecar. Who may: kubectl annotate namespace NAME ${namespaceFilesDriver}=libfuse`,
            ],
    };
  if (served.length === 0) return { sidecar, warnings: [] };
  const { runAsUser, runAsGroup, runAsNonRoot, readOnlyRootFilesystem } = objectOf(sidecar["securityContext"]);
  const names = served.map(({ name }) => name).join(", ");
  return {
    sidecar: {
      ...sidecar,
      env: [...objectsOf(sidecar["env"]), { name: sidecarVariables.filesDriver, value: driver }],
      // Capabilities and seccomp mean nothing to a privileged container, and the API server refuses one that must not gain privileges.
      securityContext: { runAsUser, runAsGroup, runAsNonRoot, privileged: true, readOnlyRootFilesystem },
      volumeMounts: [
        ...objectsOf(sidecar["volumeMounts"]),
        ...served.map(({ name }) => ({
          name,
          mountPath: `${sidecarPaths.volumes}/${name}`,
          mountPropagation: "Bidirectional",
        })),
      ],
    },
    warnings: [
      ...served
        .filter(({ source }) => source === "claim")
        .map(
          ({ name }) =>
            `squall: ClaimMayBeShared: ${name}: pods on the same node that have this claim too, and start while this one runs, get to its files through the sidecar of this one.`,
        ),
      `squall: PrivilegedSidecar: the sidecar of this pod is privileged, to serve ${names} without a daemon on the node: the namespace's annotation ${namespaceFilesDriver} is libfuse.`,
    ],
  };
}
