import assert from "node:assert/strict";
import { type Peers, startPeers } from "../cluster/support/peers.ts";
import { type Kernel, networkChaos, target } from "../cluster/support/pods.ts";

const kernels: readonly (readonly [kernel: Kernel, where: string])[] = [
  ["machine", "by NFQUEUE and iptables-nft"],
  ["uml", "by netem and iptables-legacy"],
];

/** Families one by one; network-rows.test.ts plays every row over all addresses at once. */
for (const [kernel, where] of kernels) {
  describe(`a user has pods and Services with IPv4 and IPv6, ${where}`, () => {
    let peers: Peers;
    before(async () => {
      peers = await startPeers(`two-way-street-${kernel}`, ["a", "b", "c"], { kernelOf: () => kernel });
    });
    after(() => peers.remove());
    afterEach(() => peers.deleteExperiments());

    const from = (name: string, spec: object): object => networkChaos({ name, namespace: peers.namespace, from: "a", spec });

    /** What a datagram from a to each address of that peer and its Service comes to: an error at the sender, or the round trip in ms. */
    async function fates(peer: string): Promise<Readonly<Record<"pod4" | "pod6" | "service4" | "service6", "blocked" | number>>> {
      const hosts = [...peers.ips(peer), ...(await peers.serviceIps(peer))];
      assert.deepEqual(
        hosts.map((host) => host.includes(":")),
        [false, true, false, true],
        `not one address of each family for pod and Service: ${hosts.join(" ")}`,
      );
      const [pod4, pod6, service4, service6] = (await peers.survey("a", hosts)).map(({ errors, roundTripMs }) =>
        errors.length > 0 ? "blocked" : (roundTripMs ?? Number.NaN),
      );
      assert.ok(pod4 !== undefined && pod6 !== undefined && service4 !== undefined && service6 !== undefined);
      return { pod4, pod6, service4, service6 };
    }

    const isSlow = (fate: "blocked" | number): boolean => fate !== "blocked" && fate > 190 && fate < 300;
    const isWell = (fate: "blocked" | number): boolean => fate !== "blocked" && fate < 100;
    const check = (found: Readonly<Record<string, "blocked" | number>>, is: (fate: "blocked" | number) => boolean): void =>
      assert.ok(Object.values(found).every(is), JSON.stringify(found));

    it("delays a target over both families, by pod address and through its Service, and takes it back over both", async () => {
      const before = await peers.dump("a");
      await peers.applyAndWait(from("slow", { action: "delay", delay: { latency: "200ms" }, target: target("b") }));
      check(await fates("b"), isSlow);
      check(await fates("c"), isWell);
      await peers.deleteExperiments();
      check(await fates("b"), isWell);
      assert.equal(await peers.dump("a"), before);
    });

    it("cuts a target off over both families, so that the sender sees the error, and takes it back over both", async () => {
      const before = await peers.dump("a");
      await peers.applyAndWait(from("cut", { action: "partition", direction: "both", target: target("b") }));
      check(await fates("b"), (fate) => fate === "blocked");
      check(await fates("c"), isWell);
      await peers.deleteExperiments();
      check(await fates("b"), isWell);
      assert.equal(await peers.dump("a"), before);
    });

    it("faults one family alone where an address of that family is the target", async () => {
      const [, address6] = peers.ips("b");
      await peers.applyAndWait(from("slow-6", { action: "delay", delay: { latency: "200ms" }, externalTargets: [`${address6}/128`] }));
      const { pod6, ...others } = await fates("b");
      check({ pod6 }, isSlow);
      check(others, isWell);
      await peers.deleteExperiments();

      await peers.applyAndWait(from("cut-4", { action: "partition", externalTargets: [`${peers.ip("b")}/32`] }));
      const { pod4, ...rest } = await fates("b");
      assert.equal(pod4, "blocked");
      check(rest, isWell);
    });

    it("keeps TCP over IPv6 in order: 5 MB arrive intact through a delayed Service", async () => {
      const [, service6 = ""] = await peers.serviceIps("b");
      await peers.applyAndWait(from("slow", { action: "delay", delay: { latency: "50ms" }, target: target("b") }));
      const { sent, received, ms } = await peers.upload("a", service6, 5_000_000);
      assert.equal(received, sent);
      assert.ok(ms > 100, `not delayed: ${ms} ms`);
    });
  });
}
