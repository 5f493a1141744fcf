import { isJsonObject, type JsonObject } from "./json.ts";

/** TCP ports on which the kubelet probes containers of this pod, sorted. Named ports are looked up in their container. */
export function probePortsOf(spec: JsonObject): readonly number[] {
  const found = containersOf(spec).flatMap((container) =>
    ["livenessProbe", "readinessProbe", "startupProbe"].flatMap((name) => {
      const probe = container[name];
      if (!isJsonObject(probe)) return [];
      return ["httpGet", "tcpSocket", "grpc"].flatMap((way) => {
        const handler = probe[way];
        const port = isJsonObject(handler) ? numberOf(handler["port"], container) : undefined;
        return port === undefined ? [] : [port];
      });
    }),
  );
  return [...new Set(found)].toSorted((a, b) => a - b);
}

/** Those that are probed: ordinary ones, and init containers that stay. */
function containersOf(spec: JsonObject): readonly JsonObject[] {
  const list = (value: unknown): readonly JsonObject[] => (Array.isArray(value) ? value.filter(isJsonObject) : []);
  return [...list(spec["containers"]), ...list(spec["initContainers"]).filter(({ restartPolicy }) => restartPolicy === "Always")];
}

function numberOf(port: unknown, { ports }: JsonObject): number | undefined {
  if (typeof port === "number" || (typeof port === "string" && /^\d{1,5}$/.test(port))) {
    const number = Number(port);
    return number >= 1 && number <= 65_535 ? number : undefined;
  }
  const named = (Array.isArray(ports) ? ports : []).find((candidate) => isJsonObject(candidate) && candidate["name"] === port);
  return isJsonObject(named) && typeof named["containerPort"] === "number" ? named["containerPort"] : undefined;
}
