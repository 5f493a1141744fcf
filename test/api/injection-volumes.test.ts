import assert from "node:assert/strict";
import jsonpatch from "fast-json-patch";
import { type InjectionFacts, planInjection } from "../../api/injection.ts";
import type { JsonObject } from "../../api/json.ts";
import { assertGolden } from "../support/golden.ts";

const facts: InjectionFacts = {
  image: "squall:1.2.3",
  version: "1.2.3",
  enrolmentAddress: "enrolment:9444",
  logLevel: "info",
  isImageReady: true,
  kubernetesMinor: 34,
  namespaceAnnotations: {},
};

function pod(volumes: string, spec: object): JsonObject {
  return {
    metadata: { name: "store", labels: { "squall.dev/inject": "enabled" }, annotations: { "squall.dev/volumes": volumes } },
    spec: { containers: [], ...spec },
  };
}

/** A pod with one container that mounts one volume. */
const simple = (volume: object, mount: object = {}, container: object = {}): JsonObject =>
  pod("data", {
    volumes: [{ name: "data", ...volume }],
    containers: [{ name: "app", volumeMounts: [{ name: "data", mountPath: "/data", ...mount }], ...container }],
  });

interface Mount {
  readonly name: string;
  readonly mountPath: string;
  readonly mountPropagation?: string;
}
interface Container {
  readonly name: string;
  readonly volumeMounts?: readonly Mount[];
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly resources?: unknown;
  readonly securityContext?: { readonly capabilities?: { readonly add?: readonly string[] } };
}
interface Injected {
  readonly metadata: { readonly annotations: Readonly<Record<string, string>> };
  readonly spec: { readonly containers: readonly Container[]; readonly initContainers: readonly Container[] };
}

function inject(
  before: JsonObject,
  changed: Partial<InjectionFacts> = {},
): { readonly after: Injected; readonly warnings: readonly string[] } {
  const injection = planInjection(before, { ...facts, ...changed });
  assert.ok(injection.do === "inject", JSON.stringify(injection));
  const after = jsonpatch.applyPatch(structuredClone(before), injection.patch).newDocument as unknown as Injected;
  return { after, warnings: injection.warnings };
}

const sidecarOf = ({ spec }: Injected): Container => spec.initContainers[0] ?? assert.fail("no sidecar");
const servedBy = (after: Injected): string | undefined => sidecarOf(after).env?.find(({ name }) => name === "SQUALL_VOLUMES")?.value;
const propagations = (after: Injected): readonly string[] =>
  [...after.spec.initContainers, ...after.spec.containers].flatMap(({ name, volumeMounts = [] }) =>
    volumeMounts
      .filter((mount) => mount.mountPropagation !== undefined)
      .map(({ mountPath, mountPropagation }) => `${name} ${mountPath} ${mountPropagation}`),
  );

const store = pod(" data, cache ,data", {
  volumes: [
    { name: "conf", configMap: { name: "store" } },
    { name: "data", persistentVolumeClaim: { claimName: "store" } },
    { name: "cache", emptyDir: { medium: "Memory" } },
    { name: "scratch", emptyDir: {} },
  ],
  initContainers: [{ name: "migrate", volumeMounts: [{ name: "data", mountPath: "/data", subPath: "db" }] }, { name: "once" }],
  containers: [
    {
      name: "app",
      image: "store:1",
      volumeMounts: [
        { name: "conf", mountPath: "/etc/store" },
        { name: "data", mountPath: "/var/lib/store" },
        { name: "scratch", mountPath: "/tmp" },
        { name: "cache", mountPath: "/cache", mountPropagation: "None" },
      ],
    },
    {
      name: "backup",
      volumeMounts: [
        { name: "data", mountPath: "/data", readOnly: true },
        { name: "cache", mountPath: "/cache", mountPropagation: "Bidirectional" },
      ],
    },
  ],
});

describe("planInjection, with volumes to be served", () => {
  it("has mounts of the named volumes propagate in every container, and touches no other one", () => {
    const { after, warnings } = inject(store);
    assert.deepEqual(warnings, []);
    assert.deepEqual(propagations(after), [
      "migrate /data HostToContainer",
      "app /var/lib/store HostToContainer",
      "app /cache HostToContainer",
      "backup /data HostToContainer",
      "backup /cache Bidirectional",
    ]);
  });

  it("tells the sidecar which, gives it what it needs to act for any user, and says so on the pod", () => {
    const { after } = inject(store);
    assert.equal(servedBy(after), '[{"name":"data","source":"claim"},{"name":"cache","source":"emptyDir"}]');
    assert.deepEqual(sidecarOf(after).securityContext?.capabilities?.add, [
      "NET_ADMIN",
      "NET_RAW",
      "CHOWN",
      "DAC_OVERRIDE",
      "FOWNER",
      "FSETID",
    ]);
    assert.equal(after.metadata.annotations["squall.dev/injected"], "1.2.3 network io");
  });

  it("writes exactly this patch", () => {
    const injection = planInjection(store, facts);
    assertGolden("injection/volumes.json", `${JSON.stringify(injection, undefined, 2)}\n`);
  });

  it("does nothing to what it injected before, and mends a mount that another webhook added since", () => {
    const { after } = inject(store);
    assert.deepEqual(planInjection(after as unknown as JsonObject, facts), { do: "nothing" });
    const agent = {
      name: "agent",
      volumeMounts: [
        { name: "data", mountPath: "/data" },
        { name: "conf", mountPath: "/conf" },
      ],
    };
    const grown = { ...after, spec: { ...after.spec, containers: [...after.spec.containers, agent] } } as unknown as JsonObject;
    const again = planInjection(grown, facts);
    assert.ok(again.do === "inject");
    assert.deepEqual(again.patch, [{ op: "add", path: "/spec/containers/2/volumeMounts/0/mountPropagation", value: "HostToContainer" }]);
  });

  const same = { cpu: "1", memory: "1Gi" };
  const classes: readonly (readonly [
    quality: string,
    resources: object,
    annotations: Readonly<Record<string, string>>,
    expected: object,
  ])[] = [
    ["BestEffort", {}, {}, {}],
    ["Burstable", { requests: same }, {}, { requests: { cpu: "50m", memory: "96Mi" }, limits: { memory: "288Mi" } }],
    [
      "Guaranteed",
      { requests: same, limits: same },
      {},
      { requests: { cpu: "500m", memory: "288Mi" }, limits: { cpu: "500m", memory: "288Mi" } },
    ],
    [
      "Guaranteed",
      { limits: same },
      { "squall.dev/sidecar-cpu": "200m", "squall.dev/sidecar-memory": "200M" },
      { requests: { cpu: "200m", memory: "334217728" }, limits: { cpu: "200m", memory: "334217728" } },
    ],
  ];
  for (const [quality, resources, namespaceAnnotations, expected] of classes) {
    it(`gives a ${quality} pod the memory of one more process for each volume (${JSON.stringify(namespaceAnnotations)})`, () => {
      const { after } = inject(simple({ emptyDir: {} }, {}, { resources }), { namespaceAnnotations });
      assert.deepEqual(sidecarOf(after).resources, expected);
    });
  }

  const plain = { volumes: [{ name: "data", emptyDir: {} }] };
  const mount = { name: "data", mountPath: "/data" };
  const refusals: readonly (readonly [what: string, before: JsonObject, why: RegExp])[] = [
    ...["configMap", "secret", "projected", "downwardAPI", "hostPath", "csi", "image", "nfs"].map(
      (kind) => [`a ${kind}`, simple({ [kind]: {} }), new RegExp(`It is of the kind ${kind}; emptyDir, `)] as const,
    ),
    ["an emptyDir of huge pages", simple({ emptyDir: { medium: "HugePages-2Mi" } }), /huge pages/],
    [
      "a raw block device",
      simple({ persistentVolumeClaim: { claimName: "a" } }, {}, { volumeDevices: [{ name: "data", devicePath: "/dev/xvda" }] }),
      /raw block device/,
    ],
    ["a volume that is not there", pod("data", { volumes: [{ name: "cache", emptyDir: {} }] }), /no such volume\. It has cache\.$/],
    ["a volume of a pod without any", pod("data", {}), /It has none\.$/],
    ["a volume of our own", pod("squall-state", plain), /no such volume/],
    ["a volume that nobody mounts", pod("data", { ...plain, containers: [{ name: "app" }] }), /No container mounts it/],
    ["a mount with recursiveReadOnly", simple({ emptyDir: {} }, { readOnly: true, recursiveReadOnly: "IfPossible" }), /recursiveReadOnly/],
    ["a pod with users of its own", pod("data", { ...plain, hostUsers: false, containers: [{ volumeMounts: [mount] }] }), /hostUsers/],
    [
      "a claim that two volumes are of",
      pod("data", {
        volumes: ["data", "same"].map((name) => ({ name, persistentVolumeClaim: { claimName: "a" } })),
        containers: [{ volumeMounts: [mount] }],
      }),
      /^squall: VolumeNotServed: data: Volume same is of the same claim, and both are one folder/,
    ],
    ["an annotation without a name", pod(" , ", plain), /names no volume/],
  ];
  for (const [what, before, why] of refusals) {
    it(`says why ${what} is not served, and injects the pod for network faults only`, () => {
      const { after, warnings } = inject(before);
      assert.equal(warnings.length, 1);
      assert.match(warnings[0] ?? "", /^squall: VolumeNotServed: /);
      assert.match(warnings[0] ?? "", why);
      assert.equal(servedBy(after), undefined);
      assert.deepEqual(propagations(after), []);
      assert.equal(after.metadata.annotations["squall.dev/injected"], "1.2.3 network");
      assert.deepEqual(sidecarOf(after).securityContext?.capabilities?.add, ["NET_ADMIN", "NET_RAW"]);
    });
  }

  it("says of a claim where it is one of several volumes that the node does not know by the pod's names, for the daemon's driver", () => {
    const claim = (name: string): JsonObject => ({ name, persistentVolumeClaim: { claimName: name } });
    const mounted = { containers: [{ volumeMounts: [mount, { name: "log", mountPath: "/log" }] }] };
    const alone = { name: "data", source: "claim" };
    const several = { ...alone, isOneOfSeveral: true };
    const rows: readonly (readonly [volumes: readonly JsonObject[], served: readonly object[]])[] = [
      [
        [claim("data"), { name: "log", emptyDir: {} }],
        [alone, { name: "log", source: "emptyDir" }],
      ],
      [
        [claim("data"), claim("log")],
        [several, { ...several, name: "log" }],
      ],
      [
        [claim("data"), { name: "log", ephemeral: {} }],
        [several, { ...several, name: "log" }],
      ],
      [
        [claim("data"), { name: "log", emptyDir: {} }, { name: "keys", csi: { driver: "keys" } }],
        [several, { name: "log", source: "emptyDir" }],
      ],
    ];
    for (const [volumes, served] of rows) {
      const { after, warnings } = inject(pod("data,log", { volumes, ...mounted }));
      assert.deepEqual(warnings, []);
      assert.deepEqual(JSON.parse(servedBy(after) ?? ""), served);
    }
    const namespaceAnnotations = { "squall.dev/files-driver": "libfuse" };
    const { after } = inject(pod("data", { volumes: [claim("data"), claim("log")], ...mounted }), { namespaceAnnotations });
    assert.deepEqual(JSON.parse(servedBy(after) ?? ""), [alone]);
  });

  it("serves a claim beside volumes of the kubelet's own, and an emptyDir beside two claims", () => {
    const claim = { persistentVolumeClaim: { claimName: "a" } };
    const mounted = { containers: [{ volumeMounts: [mount] }] };
    const own = ["configMap", "secret", "projected", "downwardAPI", "hostPath", "image", "emptyDir"].map((kind) => ({
      name: kind,
      [kind]: {},
    }));
    const others = ["one", "two"].map((name) => ({ name, ...claim }));
    for (const volumes of [
      [{ name: "data", ...claim }, ...own],
      [{ name: "data", emptyDir: {} }, ...others],
    ]) {
      const { after, warnings } = inject(pod("data", { volumes, ...mounted }));
      assert.deepEqual(warnings, []);
      assert.match(servedBy(after) ?? "", /"name":"data"/);
    }
  });

  it("leaves volumes as they are where the namespace refuses a sidecar that serves any, but for a trial of it", () => {
    const namespaceAnnotations = {
      "squall.dev/injection-verdict": '{"BestEffort":"allowed","BestEffort with volumes":"refused by LimitRange: maximum memory"}',
    };
    const { after, warnings } = inject(store, { namespaceAnnotations });
    assert.deepEqual(warnings, [
      "squall: VolumeNotServed: The policies of the namespace refuse a sidecar that serves volumes. LimitRange: maximum memory",
    ]);
    assert.deepEqual(propagations(after), ["app /cache None", "backup /cache Bidirectional"]);
    assert.equal(servedBy(after), undefined);
    const trial = planInjection(store, { ...facts, namespaceAnnotations }, { isTrial: true });
    assert.ok(trial.do === "inject" && JSON.stringify(trial.patch).includes("DAC_OVERRIDE"));
  });

  it("serves the others where one is refused", () => {
    const spec = store["spec"] as object;
    const { after, warnings } = inject(pod("conf,data", spec));
    assert.equal(warnings.length, 1);
    assert.equal(servedBy(after), '[{"name":"data","source":"claim"}]');
  });

  it("serves 16 volumes at most, and warns in a few lines", () => {
    const all = Array.from({ length: 40 }, (_, index) => `v${index}`);
    const volumes = all.map((name) => ({ name, emptyDir: {} }));
    const { after, warnings } = inject(
      pod(all.join(","), { volumes, containers: [{ volumeMounts: all.map((name) => ({ name, mountPath: `/${name}` })) }] }),
    );
    assert.equal(propagations(after).length, 16);
    assert.equal(warnings.length, 8);
    assert.match(warnings.at(-1) ?? "", /and 17 more/);
  });

  it("takes a volume that says nothing of its kind for an emptyDir, as the API server does", () =>
    assert.equal(servedBy(inject(simple({})).after), '[{"name":"data","source":"emptyDir"}]'));

  it("takes a claim of the pod's own for one", () =>
    assert.equal(servedBy(inject(simple({ ephemeral: { volumeClaimTemplate: {} } })).after), '[{"name":"data","source":"claim"}]'));

  it("answers names that are none without throwing", () => {
    for (const spec of [
      { volumes: [{ name: { toString: 1 } }, null, 7], containers: [null, { volumeMounts: [null, { name: "data" }] }] },
      { volumes: "data", containers: [{ volumeMounts: "data", volumeDevices: {} }] },
    ])
      assert.equal(planInjection(pod("data", spec), facts).do, "inject");
  });
});
