import assert from "node:assert/strict";
import ipaddr from "ipaddr.js";
import {
  API_SERVICE_ADDRESS,
  clusterAddresses,
  DNS_SERVICE_ADDRESS,
  familiesOf,
  type IpFamily,
  type NodeAddresses,
} from "../../../lab/node/addresses.ts";
import { nodes } from "../../../lab/node/layout.ts";

const isWithin = (address: string, range: string): boolean => ipaddr.parse(address).match(ipaddr.parseCIDR(range));
const firstOf = (range: string): string => range.split("/")[0] ?? "";

describe("the lab's addresses", () => {
  const both: readonly IpFamily[] = familiesOf("dual");

  it("are of IPv4 first: Services that ask for no family get it", () => {
    assert.deepEqual(both, ["ipv4", "ipv6"]);
    assert.deepEqual(familiesOf("ipv4"), ["ipv4"]);
  });

  it("have the fixed Services within the range of Services", () => {
    for (const address of [API_SERVICE_ADDRESS, DNS_SERVICE_ADDRESS]) assert.ok(isWithin(address, clusterAddresses.ipv4.services), address);
  });

  for (const family of ["ipv4", "ipv6"] as const) {
    const { services, pods, prefixLength } = clusterAddresses[family];
    const all: readonly NodeAddresses[] = Object.values(nodes).map((node) => node[family]);

    it(`${family}: every node's pods are within the range of pods, and no node's within another's`, () => {
      for (const node of all) {
        assert.ok(isWithin(firstOf(node.pods), pods), node.pods);
        assert.deepEqual(
          all.filter((other) => isWithin(firstOf(node.pods), other.pods)),
          [node],
        );
      }
    });

    it(`${family}: both ends of a node's cable are in one network, which nothing else is in`, () => {
      for (const node of all) {
        const cable = `${node.gateway}/${prefixLength}`;
        assert.ok(isWithin(node.address, cable));
        for (const range of [services, pods]) assert.ok(!isWithin(firstOf(range), cable) && !isWithin(node.address, range), range);
      }
    });
  }
});
