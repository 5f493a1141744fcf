import assert from "node:assert/strict";
import fc from "fast-check";
import jsonpatch from "fast-json-patch";
import { type InjectionFacts, planInjection } from "../../api/injection.ts";
import type { JsonObject } from "../../api/json.ts";

const facts: InjectionFacts = {
  image: "squall:1.2.3",
  version: "1.2.3",
  enrolmentAddress: "enrolment:9444",
  logLevel: "info",
  isImageReady: true,
  kubernetesMinor: 34,
  namespaceAnnotations: {},
};

interface PodParts {
  readonly metadata?: object;
  readonly spec?: object;
  readonly container?: object;
}

function pod({ metadata = {}, spec = {}, container = {} }: PodParts = {}): JsonObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "web", labels: { "squall.dev/inject": "enabled" }, ...metadata },
    spec: { containers: [{ name: "app", image: "app:1", ...container }], ...spec },
  };
}

interface Injected {
  readonly metadata: { readonly annotations: Readonly<Record<string, string>> };
  readonly spec: {
    readonly containers: readonly unknown[];
    readonly initContainers: readonly (Readonly<Record<string, unknown>> & {
      readonly name: string;
      readonly env?: readonly { readonly name: string; readonly value?: string }[];
    })[];
    readonly volumes: readonly { readonly name: string }[];
  };
}

function inject(before: JsonObject, changed: Partial<InjectionFacts> = {}): Injected {
  const injection = planInjection(before, { ...facts, ...changed });
  assert.equal(injection.do, "inject", JSON.stringify(injection));
  return jsonpatch.applyPatch(structuredClone(before), injection.do === "inject" ? injection.patch : []).newDocument as unknown as Injected;
}

const refusing = {
  "squall.dev/injection-verdict":
    '{"BestEffort":"refused by ResourceQuota: exceeded quota: team","Burstable":"allowed","Guaranteed":"unknown: no"}',
};

const sidecarOf = (injected: Injected) => injected.spec.initContainers[0] ?? assert.fail("no sidecar");
const variable = (injected: Injected, name: string) => sidecarOf(injected).env?.find((entry) => entry.name === name)?.value;

describe("planInjection", () => {
  it("adds a native sidecar before all else, hardened, without an API-server token", () => {
    const injected = inject(pod({ spec: { initContainers: [{ name: "migrate" }], volumes: [{ name: "data" }] } }));
    const sidecar = sidecarOf(injected);
    assert.deepEqual(
      injected.spec.initContainers.map(({ name }) => name),
      ["squall-sidecar", "migrate"],
    );
    assert.equal(sidecar["restartPolicy"], "Always");
    assert.deepEqual(sidecar["securityContext"], {
      runAsUser: 0,
      runAsGroup: 65010,
      runAsNonRoot: false,
      privileged: false,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"], add: ["NET_ADMIN", "NET_RAW"] },
      seccompProfile: { type: "RuntimeDefault" },
    });
    assert.deepEqual(
      injected.spec.volumes.map(({ name }) => name),
      ["data", "squall-token", "squall-ca", "squall-state", "squall-no-api-token"],
    );
    const mounts = sidecar["volumeMounts"] as readonly { readonly name: string; readonly mountPath: string }[];
    assert.equal(mounts.find(({ name }) => name === "squall-no-api-token")?.mountPath, "/var/run/secrets/kubernetes.io/serviceaccount");
    assert.equal(injected.metadata.annotations["squall.dev/injected"], "1.2.3 network");
    assert.equal(injected.metadata.annotations["kubectl.kubernetes.io/default-container"], "app");
  });

  it("touches nothing of the application", () => {
    const before = pod({
      container: { command: ["run"], args: ["x"], env: [{ name: "A", value: "b" }] },
      metadata: { annotations: { mine: "yes" } },
    });
    const injected = inject(before);
    assert.deepEqual(injected.spec.containers, (before["spec"] as { readonly containers: unknown }).containers);
    assert.equal(injected.metadata.annotations["mine"], "yes");
  });

  it("does nothing to a pod that it injected before", () => {
    const injected = inject(pod());
    assert.deepEqual(planInjection(injected as unknown as JsonObject, facts), { do: "nothing" });
  });

  it("writes each port that the kubelet probes into the environment, named ones too", () => {
    const container = {
      ports: [{ name: "http", containerPort: 8080 }],
      readinessProbe: { httpGet: { port: "http" } },
      livenessProbe: { tcpSocket: { port: 9000 } },
      startupProbe: { grpc: { port: 7000 } },
    };
    const spec = {
      initContainers: [
        { name: "proxy", restartPolicy: "Always", readinessProbe: { httpGet: { port: 15021 } } },
        { name: "once", readinessProbe: { httpGet: { port: 1 } } },
      ],
    };
    assert.equal(variable(inject(pod({ container, spec })), "SQUALL_PROBE_PORTS"), "7000,8080,9000,15021");
  });

  const same = { cpu: "100m", memory: "64Mi" };
  const classes: readonly (readonly [quality: string, resources: object, expected: object])[] = [
    ["BestEffort", {}, {}],
    [
      "Guaranteed",
      { requests: same, limits: same },
      { requests: { cpu: "50m", memory: "160Mi" }, limits: { cpu: "50m", memory: "160Mi" } },
    ],
    ["Guaranteed", { limits: same }, { requests: { cpu: "50m", memory: "160Mi" }, limits: { cpu: "50m", memory: "160Mi" } }],
    ["Burstable", { requests: same }, { requests: { cpu: "10m", memory: "48Mi" }, limits: { memory: "160Mi" } }],
  ];
  for (const [quality, resources, expected] of classes) {
    it(`keeps a ${quality} pod ${quality} (${JSON.stringify(resources)})`, () =>
      assert.deepEqual(sidecarOf(inject(pod({ container: { resources } })))["resources"], expected));
  }

  const skips: readonly (readonly [code: string, before: JsonObject, changed: Partial<InjectionFacts>])[] = [
    ["NotOptedIn", pod({ metadata: { labels: {} } }), {}],
    ["HostNetwork", pod({ spec: { hostNetwork: true } }), {}],
    ["Windows", pod({ spec: { os: { name: "windows" } } }), {}],
    ["Windows", pod({ spec: { nodeSelector: { "kubernetes.io/os": "windows" } } }), {}],
    ["NameTaken", pod({ spec: { initContainers: [{ name: "squall-sidecar", command: ["mine"] }] } }), {}],
    ["NameTaken", pod({ container: { name: "squall-sidecar" } }), {}],
    ["NameTaken", pod({ spec: { volumes: [{ name: "squall-token" }] } }), {}],
    ["KubernetesTooOld", pod(), { kubernetesMinor: 28 }],
    ["ImageNotReady", pod(), { isImageReady: false }],
    ["NamespaceRefuses", pod(), { namespaceAnnotations: refusing, isImageReady: false }],
  ];
  for (const [code, before, changed] of skips) {
    it(`leaves a pod alone and says ${code}`, () => {
      const injection = planInjection(before, { ...facts, ...changed });
      assert.ok(injection.do === "skip");
      assert.equal(injection.code, code);
      const after = jsonpatch.applyPatch(structuredClone(before), injection.patch).newDocument as unknown as Injected;
      assert.equal(after.metadata.annotations["squall.dev/injected"], code);
      assert.deepEqual(after.spec, before["spec"]);
    });
  }

  it("says who refuses, leaves pods of other classes alone, and injects a trial all the same", () => {
    const injection = planInjection(pod(), { ...facts, namespaceAnnotations: refusing });
    assert.ok(injection.do === "skip");
    assert.equal(injection.message, "The policies of the namespace refuse such a pod with a sidecar. ResourceQuota: exceeded quota: team");
    const resources = { limits: { cpu: "1", memory: "1Gi" } };
    assert.equal(planInjection(pod({ container: { resources } }), { ...facts, namespaceAnnotations: refusing }).do, "inject");
    const trial = { ...facts, namespaceAnnotations: refusing, isImageReady: false };
    assert.equal(planInjection(pod(), trial, { isTrial: true }).do, "inject");
  });

  it("injects where the verdict of the namespace cannot be read", () =>
    assert.equal(planInjection(pod(), { ...facts, namespaceAnnotations: { "squall.dev/injection-verdict": "{" } }).do, "inject"));

  it("takes image and resources from the namespace, and says so when it cannot", () => {
    const good = { "squall.dev/sidecar-image": "registry.example.com/squall:9", "squall.dev/sidecar-memory": "96Mi" };
    assert.equal(sidecarOf(inject(pod(), { namespaceAnnotations: good }))["image"], "registry.example.com/squall:9");
    const bad = planInjection(pod(), {
      ...facts,
      namespaceAnnotations: { "squall.dev/sidecar-image": "a b\nc", "squall.dev/sidecar-cpu": "lots" },
    });
    assert.ok(bad.do === "inject");
    assert.equal(bad.warnings.length, 2);
  });

  it("keeps its ports out of the redirect of a mesh, and what the user excluded", () => {
    const metadata = { annotations: { "sidecar.istio.io/status": "{}", "traffic.sidecar.istio.io/excludeInboundPorts": "80" } };
    const istio = inject(pod({ metadata: { ...metadata } })).metadata.annotations;
    assert.equal(istio["traffic.sidecar.istio.io/excludeInboundPorts"], "80,9445");
    assert.equal(istio["traffic.sidecar.istio.io/excludeOutboundPorts"], "9444");
    const linkerd = inject(pod({ spec: { initContainers: [{ name: "linkerd-proxy" }] } })).metadata.annotations;
    assert.equal(linkerd["config.linkerd.io/skip-inbound-ports"], "9445");
  });

  it("answers any object without throwing", () => {
    fc.assert(
      fc.property(fc.record({ metadata: fc.anything(), spec: fc.anything() }), (anything) => {
        planInjection(anything, facts);
      }),
    );
  });
});
