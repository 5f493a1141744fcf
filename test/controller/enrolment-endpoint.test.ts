import assert from "node:assert/strict";
import { writeEnrolmentEndpoint } from "../../controller/enrolment-endpoint.ts";
import { endpointSlices } from "../../kube/resources.ts";
import { FakeKube } from "../support/fake-kube.ts";

describe("writeEnrolmentEndpoint", () => {
  const ref = { namespace: "squall-system", name: "squall-enrolment" };

  it("puts the leader's pod behind the Service, and a new leader in its place", async () => {
    const kube = new FakeKube();
    await writeEnrolmentEndpoint(kube, { name: "controller-a", uid: "a", ips: ["10.244.0.5"] });
    await writeEnrolmentEndpoint(kube, { name: "controller-b", uid: "b", ips: ["10.244.0.6"] });
    const slice = await kube.get(endpointSlices, ref);
    assert.deepEqual(
      slice.endpoints.map(({ addresses, conditions, targetRef }) => [addresses, conditions?.ready, targetRef?.name]),
      [[["10.244.0.6"], true, "controller-b"]],
    );
    assert.equal(slice.metadata.labels?.["kubernetes.io/service-name"], "squall-enrolment");
    assert.deepEqual(slice.ports, [{ name: "enrolment", port: 9444, protocol: "TCP" }]);
  });

  it("writes one slice for each address family", async () => {
    const kube = new FakeKube();
    const written = await writeEnrolmentEndpoint(kube, { name: "c", uid: "c", ips: ["10.244.0.5", "fd00::5"] });
    assert.deepEqual(
      written.map(({ metadata, addressType }) => [metadata.name, addressType]),
      [
        ["squall-enrolment", "IPv4"],
        ["squall-enrolment-ipv6", "IPv6"],
      ],
    );
  });

  it("writes nothing new when nothing changed", async () => {
    const kube = new FakeKube();
    const pod = { name: "c", uid: "c", ips: ["10.244.0.5"] };
    const [first] = await writeEnrolmentEndpoint(kube, pod);
    const [second] = await writeEnrolmentEndpoint(kube, pod);
    assert.equal(second?.metadata.resourceVersion, first?.metadata.resourceVersion);
  });
});
