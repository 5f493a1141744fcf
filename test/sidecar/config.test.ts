import assert from "node:assert/strict";
import { sidecarVariables } from "../../common/sidecar-layout.ts";
import { readSidecarConfig } from "../../sidecar/config.ts";

const environment = {
  [sidecarVariables.podUid]: "u1",
  [sidecarVariables.podName]: "cart",
  [sidecarVariables.podNamespace]: "shop",
  [sidecarVariables.podIps]: "10.244.0.7,fd00::7",
  [sidecarVariables.enrolmentAddress]: "squall-enrolment.squall-system.svc:9444",
};

describe("readSidecarConfig", () => {
  it("reads what the injector wrote", () => {
    const config = readSidecarConfig({
      ...environment,
      [sidecarVariables.probePorts]: "8080,9000",
      [sidecarVariables.hostIps]: "10.0.0.1",
    });
    assert.deepEqual(config, {
      podUid: "u1",
      podName: "cart",
      podNamespace: "shop",
      podIps: ["10.244.0.7", "fd00::7"],
      hostIps: ["10.0.0.1"],
      probePorts: [8080, 9000],
      enrolmentAddress: "squall-enrolment.squall-system.svc:9444",
      logLevel: "info",
      volumes: [],
      filesDriver: "kernel",
    });
  });

  it("reads how volumes are served", () => {
    assert.equal(readSidecarConfig({ ...environment, [sidecarVariables.filesDriver]: "libfuse" }).filesDriver, "libfuse");
    assert.throws(() => readSidecarConfig({ ...environment, [sidecarVariables.filesDriver]: "nfs" }), /"nfs" is none of kernel, libfuse/);
  });

  it("reads which volumes are served", () => {
    const volumes = [
      { name: "data", source: "emptyDir" },
      { name: "big-1", source: "claim" },
    ];
    assert.deepEqual(readSidecarConfig({ ...environment, [sidecarVariables.volumes]: JSON.stringify(volumes) }).volumes, volumes);
  });

  for (const wrong of [
    "data",
    "{}",
    '[{"name":"data"}]',
    '[{"name":"../data","source":"claim"}]',
    '[{"name":"data","source":"hostPath"}]',
    '[{"name":"data","source":"claim"},{"name":"data","source":"emptyDir"}]',
  ]) {
    it(`refuses volumes that are none, and shows what to write: ${wrong}`, () =>
      assert.throws(
        () => readSidecarConfig({ ...environment, [sidecarVariables.volumes]: wrong }),
        /SQUALL_VOLUMES: ".*" cannot be read\. Write JSON such as \[\{"name":"data","source":"emptyDir"\}\]\./,
      ));
  }

  it("goes without probes and addresses of the node", () => {
    const { probePorts, hostIps } = readSidecarConfig(environment);
    assert.deepEqual([probePorts, hostIps], [[], []]);
  });

  it("names every variable that is missing or wrong, at once", () => {
    assert.throws(
      () => readSidecarConfig({ [sidecarVariables.logLevel]: "loud" }),
      (error: Error) =>
        [sidecarVariables.podUid, sidecarVariables.enrolmentAddress, sidecarVariables.logLevel].every((name) =>
          error.message.includes(name),
        ),
    );
  });
});
