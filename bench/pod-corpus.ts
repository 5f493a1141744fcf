import type { JsonObject } from "../api/json.ts";

/** Pods as clusters have them, for the injector's bench: 48 of them, from 1 to 12 containers and from 0.5 to 80 kB. The same in every run. */

type Kind = "plain" | "guaranteed" | "with init containers" | "already injected" | "host network" | "Windows" | "opted out" | "name taken";

interface Shape {
  readonly kind: Kind;
  readonly containers: number;
  readonly environment: number;
  /** Characters of an annotation. */
  readonly note: number;
}

const sizes: readonly Omit<Shape, "kind">[] = [
  { containers: 1, environment: 2, note: 0 },
  { containers: 2, environment: 20, note: 500 },
  { containers: 3, environment: 40, note: 2_000 },
  { containers: 5, environment: 60, note: 8_000 },
  { containers: 8, environment: 80, note: 16_000 },
  { containers: 12, environment: 60, note: 30_000 },
];
const kinds: readonly Kind[] = [
  "plain",
  "guaranteed",
  "with init containers",
  "already injected",
  "host network",
  "Windows",
  "opted out",
  "name taken",
];

export interface CorpusPod {
  readonly title: string;
  /** Whether the injector has to add a sidecar. */
  readonly isInjected: boolean;
  readonly pod: JsonObject;
}

export const corpus: readonly CorpusPod[] = kinds.flatMap((kind) =>
  sizes.map((size) => ({
    title: `${kind}, ${size.containers} containers`,
    isInjected: kind === "plain" || kind === "guaranteed" || kind === "with init containers",
    pod: podOf({ kind, ...size }),
  })),
);

function podOf({ kind, containers, environment, note }: Shape): JsonObject {
  const amounts = { cpu: "100m", memory: "128Mi" };
  const container = (name: string) => ({
    name,
    image: `registry.example.com/${name}:1.2.3`,
    command: ["run", "--config", "/etc/app/config.yaml"],
    env: Array.from({ length: environment }, (_, index) => ({ name: `VARIABLE_${index}`, value: `some value number ${index}` })),
    ports: [{ name: "http", containerPort: 8080 }],
    readinessProbe: { httpGet: { path: "/ready", port: "http" } },
    resources: kind === "guaranteed" ? { requests: amounts, limits: amounts } : { requests: amounts, limits: { memory: "256Mi" } },
    volumeMounts: [{ name: "data", mountPath: "/data" }],
  });
  const ours = { name: "squall-sidecar", image: "squall:0", restartPolicy: "Always" };
  const own = { name: "migrate", image: "registry.example.com/migrate:1" };
  const init = {
    "with init containers": [own],
    "already injected": [ours],
    "name taken": [{ ...ours, image: "registry.example.com/other:1" }],
  };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      generateName: "web-",
      namespace: "shop",
      labels: { app: "web", ...(kind === "opted out" ? {} : { "squall.dev/inject": "enabled" }) },
      annotations: { note: "x".repeat(note) },
    },
    spec: {
      containers: Array.from({ length: containers }, (_, index) => container(`c${index}`)),
      ...(kind in init && { initContainers: init[kind as keyof typeof init] }),
      volumes: [{ name: "data", emptyDir: {} }],
      serviceAccountName: "default",
      ...(kind === "host network" && { hostNetwork: true }),
      ...(kind === "Windows" && { os: { name: "windows" } }),
    },
  };
}
