import assert from "node:assert/strict";
import { waitUntil } from "../../lab/wait-until.ts";
import { storyCluster } from "./support/cluster.ts";
import { type Peers, startPeers } from "./support/peers.ts";
import { type Kernel, placedOn } from "./support/pods.ts";

/** What a container's own cgroup says, in either version. */
interface Usage {
  readonly cpuNs: number;
  readonly memoryBytes: number;
}

const MB = 1_000_000;
const SHARE_MS = 6_000;

/** Rows S1 and S2 of Chaos Mesh's own tests, on a kernel with one version of cgroups. */
export function tellStressRows({
  where,
  namespace,
  kernel,
}: {
  readonly where: string;
  readonly namespace: string;
  readonly kernel: Kernel;
}): void {
  describe(`a user stresses a container, ${where}`, () => {
    let peers: Peers;
    before(async () => {
      peers = await startPeers(namespace, []);
      const { peerImage: image } = await storyCluster();
      const container = { image, imagePullPolicy: "IfNotPresent", command: ["sleep", "3600"] };
      await peers.apply({
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name: "cart", namespace, labels: { app: "cart" } },
        spec: {
          terminationGracePeriodSeconds: 0,
          containers: [
            { name: "app", ...container },
            { name: "neighbour", ...container },
            { name: "small", ...container, resources: { limits: { memory: "64Mi" } } },
          ],
          ...placedOn(kernel),
        },
      });
      await peers.kubectl(["wait", "-n", namespace, "--for=condition=Ready", "pod/cart", "--timeout=120s"], { timeoutMs: 130_000 });
    });
    after(() => peers.remove());
    afterEach(() => peers.kubectl(["delete", "stresschaos", "--all", "-n", namespace, "--timeout=60s"], { timeoutMs: 70_000 }));

    const READ = `const { readFileSync } = require("node:fs");
      const read = (file) => { try { return readFileSync("/sys/fs/cgroup/" + file, "utf8"); } catch { return undefined; } };
      const stat = read("cpu.stat")?.match(/usage_usec (\\d+)/)?.[1];
      const cpuNs = stat === undefined ? Number(read("cpuacct/cpuacct.usage") ?? read("cpu,cpuacct/cpuacct.usage")) : Number(stat) * 1000;
      const memoryBytes = Number(read("memory.current") ?? read("memory/memory.usage_in_bytes"));
      console.log(JSON.stringify({ cpuNs, memoryBytes }));`;
    const usage = async (container: string): Promise<Usage> =>
      JSON.parse(await peers.kubectl(["exec", "-n", namespace, "cart", "-c", container, "--", "node", "-e", READ])) as Usage;
    /** Processors that a container used over some seconds; what looking itself takes is taken off. */
    const processorsUsed = async (container: string): Promise<number> => {
      const cost = (await usage(container)).cpuNs;
      const begun = await usage(container);
      const at = performance.now();
      await peers.pause(SHARE_MS);
      const passedNs = (performance.now() - at) * 1e6;
      const ended = await usage(container);
      return Math.max(0, ended.cpuNs - begun.cpuNs - (begun.cpuNs - cost)) / passedNs;
    };
    const stress = (name: string, spec: object): object => ({
      apiVersion: "chaos-mesh.org/v1alpha1",
      kind: "StressChaos",
      metadata: { name, namespace },
      spec: { mode: "all", selector: { labelSelectors: { app: "cart" } }, containerNames: ["app"], ...spec },
    });
    const record = (name: string, path: string): Promise<string> =>
      peers.jsonpath(`stresschaos/${name}`, `{.status.experiment.containerRecords[0].${path}}`);
    const isIdle = async (): Promise<boolean | string> => {
      const used = await processorsUsed("app");
      return used < 0.02 || `the container uses ${used} of a processor`;
    };

    it("sees its processor kept as busy as asked, its neighbour's not, and all of it end", async () => {
      await peers.applyAndWait(stress("busy", { stressors: { cpu: { workers: 1, load: 50 } } }));
      const isBusy = async (): Promise<boolean | string> => {
        const used = await processorsUsed("app");
        return Math.abs(used - 0.5) <= 0.05 || `the container uses ${used} of a processor`;
      };
      await waitUntil("the load is within 10 % of what was asked", isBusy, { timeoutMs: 90_000 });
      assert.ok((await processorsUsed("neighbour")) < 0.02);
      assert.ok(Number(await record("busy", "receipts.processes")) >= 1);
      await peers.kubectl(["delete", "stresschaos", "busy", "-n", namespace, "--timeout=30s"]);
      await waitUntil("the container is idle again", isIdle, { timeoutMs: 30_000 });
    });

    it("sees memory taken within 10 % of what was asked, and given back", async () => {
      const before = await usage("app");
      await peers.applyAndWait(stress("large", { stressors: { memory: { workers: 2, size: "200MB" } } }));
      const taken = async (): Promise<boolean | string> => {
        const grown = (await usage("app")).memoryBytes - before.memoryBytes;
        return Math.abs(grown - 200 * MB) <= 20 * MB || `${grown} bytes were taken`;
      };
      await waitUntil("the memory is taken", taken, { timeoutMs: 60_000 });
      await peers.kubectl(["delete", "stresschaos", "large", "-n", namespace, "--timeout=30s"]);
      const given = async (): Promise<boolean | string> => {
        const grown = (await usage("app")).memoryBytes - before.memoryBytes;
        return grown < 20 * MB || `${grown} bytes more than before`;
      };
      await waitUntil("the memory is given back", given, { timeoutMs: 30_000 });
    });

    it("is told when the kernel kills stressors because the container's memory is too small", async () => {
      await peers.apply(stress("too-large", { containerNames: ["small"], stressors: { memory: { workers: 1, size: "256MB" } } }));
      const isTold = async (): Promise<boolean | string> => {
        const kills = await record("too-large", "receipts.oomKills");
        const reason = await record("too-large", "reason");
        return (Number(kills) > 0 && reason === "OomKilled") || `${kills} kills, reason ${reason}`;
      };
      await waitUntil("the record says so", isTold, { timeoutMs: 90_000 });
    });
  });
}
