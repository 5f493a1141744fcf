import { ports } from "../common/names.ts";
import { isJsonObject, type JsonObject } from "./json.ts";

/** Meshes redirect all traffic of a pod to their proxy; ours must not go there. Each with the annotations that leave ports out. */
const meshes = [
  {
    signs: { annotations: ["sidecar.istio.io/status"], containers: ["istio-proxy"] },
    inbound: "traffic.sidecar.istio.io/excludeInboundPorts",
    outbound: "traffic.sidecar.istio.io/excludeOutboundPorts",
  },
  {
    signs: { annotations: ["linkerd.io/proxy-version"], containers: ["linkerd-proxy"] },
    inbound: "config.linkerd.io/skip-inbound-ports",
    outbound: "config.linkerd.io/skip-outbound-ports",
  },
] as const;

/** Annotations that keep the sidecar's port and enrolment out of the redirect of a mesh found in the pod; what the user excluded stays. */
export function planMeshExclusions(metadata: JsonObject, spec: JsonObject): Readonly<Record<string, string>> {
  const annotations = isJsonObject(metadata["annotations"]) ? metadata["annotations"] : {};
  const names = [spec["containers"], spec["initContainers"]].flatMap((list) =>
    Array.isArray(list) ? list.filter(isJsonObject).map(({ name }) => name) : [],
  );
  const append = (key: string, port: number): string => {
    const found = annotations[key];
    const before = typeof found === "string" ? found.split(",").filter((part) => part.trim() !== "") : [];
    return before.some((part) => part.trim() === String(port)) ? before.join(",") : [...before, port].join(",");
  };
  return Object.fromEntries(
    meshes
      .filter(
        ({ signs }) =>
          signs.annotations.some((key) => annotations[key] !== undefined) || signs.containers.some((name) => names.includes(name)),
      )
      .flatMap(({ inbound, outbound }) => [
        [inbound, append(inbound, ports.sidecar)],
        [outbound, append(outbound, ports.enrolment)],
      ]),
  );
}
