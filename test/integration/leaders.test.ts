import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { ROTATION_RULES } from "../../certs/rotation.ts";
import { FINALIZER, labels, OPTED_IN, SYSTEM_NAMESPACE } from "../../common/names.ts";
import { keepTrustStore } from "../../controller/certificates/ca-store.ts";
import { findFreePorts } from "../../lab/free-ports.ts";
import { waitUntil } from "../../lab/wait-until.ts";
import { OWN_NAME } from "../../controller/uninstall/notice.ts";
import { connectKube, type KubeConnection } from "../../kube/client.ts";
import { isKubeError } from "../../kube/errors.ts";
import { experimentResource } from "../../kube/experiments.ts";
import { leases, namespaces } from "../../kube/resources.ts";
import { type Agents, startAgents } from "../soak/agents.ts";
import { createPods, patience, startController } from "../soak/arena.ts";
import type { Asked } from "../soak/orders.ts";
import { startTestApiServer, type TestApiServer } from "../support/api-server.ts";
import { authoredByAdmin } from "../support/authors.ts";
import { installCrds } from "../support/crds.ts";
import { connectPerson } from "./support/users.ts";

/** Two controllers as they ship, each under a name of its own at a real API server, and sidecars that speak the real protocol. */
const SHOP = "leaders-shop";
const PODS = 4;
const names = ["squall-controller-a", "squall-controller-b"] as const;
type Name = (typeof names)[number];
/** Above the 15 s of a lease that nobody renews. */
const FROZEN_MS = 20_000;
const networkChaos = experimentResource("NetworkChaos");

const auditLine = z.looseObject({
  verb: z.string(),
  requestURI: z.string(),
  user: z.looseObject({ username: z.string() }),
  objectRef: z.looseObject({ resource: z.string(), name: z.string().optional() }).optional(),
  responseStatus: z.looseObject({ code: z.number() }).optional(),
  requestReceivedTimestamp: z.string(),
});

describe("controllers that are killed and frozen, at a real API server", function () {
  this.timeout(180_000);
  const closers: (() => Promise<void>)[] = [];
  const controllers = new Map<Name, Asked>();
  let api: TestApiServer;
  let kube: KubeConnection;
  let agents: Agents;

  before(async () => {
    api = await startTestApiServer();
    closers.push(() => api.close());
    kube = connectKube({ process: "test", version: "0", kubeconfig: api.kubeconfig });
    closers.push(() => kube.close());
    await kube.create(namespaces, { metadata: { name: SYSTEM_NAMESPACE } });
    await kube.create(namespaces, { metadata: { name: SHOP, labels: { [labels.inject]: OPTED_IN } } });
    await installCrds(kube);
    const { signer } = await keepTrustStore(kube, new Date(), ROTATION_RULES, new AbortController().signal);
    const pods = await createPods(kube, SHOP, PODS, () => ({ app: "web" }));
    agents = await startAgents(pods, signer);
    closers.push(() => agents.end());
    for (const name of names) await start(name);
  });
  after(async () => {
    for (const close of closers.toReversed()) await close();
  });

  async function start(name: Name): Promise<void> {
    const { kubeconfig, kube: own } = await connectPerson(api, { name, group: "system:masters" });
    await own.close();
    const [enrolmentPort = 0, metricsPort = 0] = await findFreePorts(2);
    // beside the audit log: it goes with the API server
    const logFile = join(dirname(api.kubeconfig), `${name}.log`);
    const process = startController({ name, kubeconfig, logFile, enrolmentPort, metricsPort, nodeOptions: [] });
    controllers.set(name, process);
    closers.push(() => process.end());
  }

  /** Who holds the lease; renewed lately, or not. */
  async function leader(): Promise<Name> {
    const { spec } = await kube.get(leases, { namespace: SYSTEM_NAMESPACE, name: OWN_NAME });
    return names.find((name) => spec.holderIdentity?.startsWith(`${name}_`)) ?? assert.fail(`nobody leads: ${spec.holderIdentity}`);
  }
  const other = (name: Name): Name => names.find((one) => one !== name) ?? assert.fail();
  const signal = (name: Name, what: NodeJS.Signals): boolean => process.kill(controllers.get(name)?.pid ?? assert.fail(), what);
  const inForce = async (): Promise<number> => (await agents.state()).inForce;

  async function partition(name: string, leaseText: string): Promise<void> {
    await kube.create(networkChaos, {
      metadata: { namespace: SHOP, name, finalizers: [FINALIZER], annotations: { ...authoredByAdmin, "squall.dev/lease": leaseText } },
      spec: { action: "partition", mode: "all", selector: { namespaces: [SHOP], labelSelectors: { app: "web" } } },
    });
    const isEverywhere = async (): Promise<boolean | string> => {
      const { status } = await kube.get(networkChaos, { namespace: SHOP, name });
      const isSaid = status.conditions?.some((condition) => condition.type === "AllInjected" && condition.status === "True") === true;
      const count = await inForce();
      return (isSaid && count === PODS) || `on ${count} pods, ${JSON.stringify(status.conditions)}`;
    };
    await waitUntil(`${name} is in force`, isEverywhere, patience);
  }

  async function remove(name: string): Promise<void> {
    await kube.delete(networkChaos, { namespace: SHOP, name });
    const isGone = (): Promise<boolean> =>
      kube.get(networkChaos, { namespace: SHOP, name }).then(
        () => false,
        (error: unknown) => isKubeError(error, "not-found"),
      );
    await waitUntil(`${name} is gone`, isGone, patience);
  }

  /** What this user wrote since, other than questions, dry runs and leases: `patch networkchaos/cut 200`. */
  async function writesOf(name: Name, since: Date): Promise<readonly string[]> {
    const lines = (await readFile(api.auditLog, "utf8")).split("\n").filter((line) => line !== "");
    return lines
      .map((line) => auditLine.parse(JSON.parse(line)))
      .filter(
        ({ user, verb, requestReceivedTimestamp }) =>
          user.username === name && isWrite(verb) && new Date(requestReceivedTimestamp) >= since,
      )
      .filter(({ requestURI }) => !requestURI.includes("dryRun=All"))
      .filter(({ objectRef, responseStatus }) => objectRef?.resource !== "leases" && (responseStatus?.code ?? 0) < 400)
      .map(({ verb, objectRef }) => `${verb} ${objectRef?.resource ?? ""}/${objectRef?.name ?? ""}`);
  }
  const isWrite = (verb: string): boolean => !["get", "list", "watch"].includes(verb);

  it("a leader that is frozen for longer than its lease changes nothing when it goes on, and can lead again", async () => {
    await waitUntil("somebody leads", async () => (await leader()) !== undefined, patience);
    await partition("one", "60s");
    const frozen = await leader();
    signal(frozen, "SIGSTOP");
    const frozenAt = Date.now();
    let fewest = PODS;
    const leads = (name: Name) => async (): Promise<boolean> => {
      fewest = Math.min(fewest, await inForce());
      return (await leader()) === name;
    };
    await waitUntil("the other leads", leads(other(frozen)), patience);
    // while it is frozen, the world goes on
    await remove("one");
    await partition("two", "60s");
    await sleep(Math.max(0, frozenAt + FROZEN_MS - Date.now()));
    assert.equal(fewest, PODS, "a fault was lifted while nobody led");

    const awakeAt = new Date();
    signal(frozen, "SIGCONT");
    for (let turn = 0; turn < 50; turn += 1) {
      assert.equal(await inForce(), PODS);
      await sleep(100);
    }
    assert.deepEqual(await writesOf(frozen, awakeAt), []);
    assert.equal(await leader(), other(frozen));

    signal(other(frozen), "SIGKILL");
    await waitUntil("the first one leads again", leads(frozen), patience);
    assert.equal(fewest, PODS, "a fault was lifted while nobody led again");
    await remove("two");
    assert.deepEqual(await agents.state().then(({ inForce: left, touched }) => ({ left, touched })), { left: 0, touched: 0 });
    await start(other(frozen));
  });

  it("what waits in a frozen sidecar when every controller has died brings no fault back", async () => {
    await partition("three", "3s");
    for (const pid of agents.pids) process.kill(pid, "SIGSTOP");
    await sleep(2_500); // two heartbeats come meanwhile
    for (const { pid } of controllers.values()) {
      try {
        process.kill(pid, "SIGKILL");
      } catch (error) {
        if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error; // the one that was killed before
      }
    }
    await sleep(6_000);
    for (const pid of agents.pids) process.kill(pid, "SIGCONT");
    for (let turn = 0; turn < 60; turn += 1) {
      assert.equal(await inForce(), 0, `${turn * 100} ms after it went on`);
      await sleep(100);
    }
    assert.equal((await agents.state()).touched, 0);
  });
});
