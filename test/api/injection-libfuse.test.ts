import assert from "node:assert/strict";
import jsonpatch from "fast-json-patch";
import { planInjection } from "../../api/injection.ts";
import { type JsonObject, objectOf, objectsOf } from "../../api/json.ts";

const pod: JsonObject = {
  metadata: { name: "store", labels: { "squall.dev/inject": "enabled" }, annotations: { "squall.dev/volumes": "data" } },
  spec: {
    volumes: [{ name: "data", emptyDir: {} }],
    containers: [{ name: "app", volumeMounts: [{ name: "data", mountPath: "/data" }] }],
  },
};

function inject(
  before: JsonObject,
  namespaceAnnotations: Readonly<Record<string, string>>,
): { readonly sidecar: JsonObject; readonly app: JsonObject; readonly warnings: readonly string[] } {
  const injection = planInjection(before, {
    image: "squall:1.2.3",
    version: "1.2.3",
    enrolmentAddress: "enrolment:9444",
    logLevel: "info",
    isImageReady: true,
    kubernetesMinor: 34,
    namespaceAnnotations,
  });
  assert.ok(injection.do === "inject", JSON.stringify(injection));
  const { newDocument } = jsonpatch.applyPatch<JsonObject>(structuredClone(before), injection.patch);
  const spec = objectOf(newDocument["spec"]);
  return {
    sidecar: objectsOf(spec["initContainers"])[0] ?? assert.fail("no sidecar"),
    app: objectsOf(spec["containers"])[0] ?? assert.fail("no application"),
    warnings: injection.warnings,
  };
}

const driverOf = (sidecar: JsonObject): unknown => objectsOf(sidecar["env"]).find(({ name }) => name === "SQUALL_FILES_DRIVER")?.["value"];

describe("planFilesDriver", () => {
  it("makes the sidecar privileged where the namespace says libfuse, mounts the volume so that others see it, and warns", () => {
    const { sidecar, app, warnings } = inject(pod, { "squall.dev/files-driver": "libfuse" });
    assert.equal(driverOf(sidecar), "libfuse");
    assert.deepEqual(sidecar["securityContext"], {
      runAsUser: 0,
      runAsGroup: objectOf(sidecar["securityContext"])["runAsGroup"],
      runAsNonRoot: false,
      privileged: true,
      readOnlyRootFilesystem: true,
    });
    assert.deepEqual(objectsOf(sidecar["volumeMounts"]).at(-1), {
      name: "data",
      mountPath: "/var/lib/squall-volumes/data",
      mountPropagation: "Bidirectional",
    });
    assert.equal(objectsOf(app["volumeMounts"])[0]?.["mountPropagation"], "HostToContainer");
    assert.deepEqual(warnings, [
      "squall: PrivilegedSidecar: the sidecar of this pod is privileged, to serve data without a daemon on the node: the namespace's annotation squall.dev/files-driver is libfuse.",
    ]);
  });

  it("leaves the sidecar without privilege where the namespace does not say so, whatever the pod says", () => {
    const asking = {
      ...pod,
      metadata: { ...objectOf(pod["metadata"]), annotations: { "squall.dev/volumes": "data", "squall.dev/files-driver": "libfuse" } },
    };
    for (const annotations of [{}, { "squall.dev/files-driver": "kernel" }]) {
      const { sidecar, warnings } = inject(asking, annotations);
      assert.equal(objectOf(sidecar["securityContext"])["privileged"], false);
      assert.equal(driverOf(sidecar), undefined);
      assert.deepEqual(warnings, [
        "squall: FilesDriverNotAllowed: the annotation squall.dev/files-driver of the pod is left out: only the namespace can allow a privileged sidecar. Who may: kubectl annotate namespace NAME squall.dev/files-driver=libfuse",
      ]);
    }
  });

  it("warns that a claim is one folder for all pods of the node that have it", () => {
    const claim = {
      ...pod,
      spec: { ...objectOf(pod["spec"]), volumes: [{ name: "data", persistentVolumeClaim: { claimName: "store" } }] },
    };
    assert.match(inject(claim, { "squall.dev/files-driver": "libfuse" }).warnings[0] ?? "", /^squall: ClaimMayBeShared: data: /);
    assert.deepEqual(inject(claim, {}).warnings, []);
  });

  it("tells the sidecar of volumes that a container has read-only, which its driver must know", () => {
    const spec = objectOf(pod["spec"]);
    const reader = { name: "reader", volumeMounts: [{ name: "data", mountPath: "/data", readOnly: true }] };
    const read = { ...pod, spec: { ...spec, containers: [...objectsOf(spec["containers"]), reader] } };
    const volumesOf = (sidecar: JsonObject): unknown => objectsOf(sidecar["env"]).find(({ name }) => name === "SQUALL_VOLUMES")?.["value"];
    assert.equal(
      volumesOf(inject(read, { "squall.dev/files-driver": "libfuse" }).sidecar),
      '[{"name":"data","source":"emptyDir","hasReadOnlyMount":true}]',
    );
    assert.equal(volumesOf(inject(read, {}).sidecar), '[{"name":"data","source":"emptyDir"}]');
    assert.equal(volumesOf(inject(pod, { "squall.dev/files-driver": "libfuse" }).sidecar), '[{"name":"data","source":"emptyDir"}]');
  });

  it("leaves it so in pods that have no volume served", () => {
    const plain = { ...pod, metadata: { ...objectOf(pod["metadata"]), annotations: {} } };
    const { sidecar, warnings } = inject(plain, { "squall.dev/files-driver": "libfuse" });
    assert.equal(objectOf(sidecar["securityContext"])["privileged"], false);
    assert.deepEqual(warnings, []);
  });

  it("tells of a driver that there is not, and takes the default", () => {
    const { sidecar, warnings } = inject(pod, { "squall.dev/files-driver": "fuse3" });
    assert.equal(objectOf(sidecar["securityContext"])["privileged"], false);
    assert.match(warnings[0] ?? "", /squall\.dev\/files-driver is "fuse3", which cannot be used/);
  });
});
