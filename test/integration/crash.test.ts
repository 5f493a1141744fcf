import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "../../common/clock.ts";
import { silentLog } from "../../common/log.ts";
import { FINALIZER, labels, OPTED_IN, SIDECAR_CONTAINER } from "../../common/names.ts";
import { type Experiments, startExperiments } from "../../controller/experiments.ts";
import { World } from "../../controller/world.ts";
import { connectKube, type KubeConnection } from "../../kube/client.ts";
import { isKubeError } from "../../kube/errors.ts";
import { type Experiment, experimentResource } from "../../kube/experiments.ts";
import { namespaces, pods } from "../../kube/resources.ts";
import { authoredByAdmin } from "../support/authors.ts";
import { startTestApiServer } from "../support/api-server.ts";
import { installCrds } from "../support/crds.ts";
import { FakeAgents } from "../support/fake-agent.ts";
import { type ApiProxy, type Fate, startApiProxy } from "./support/api-proxy.ts";

/**
 * The crash matrix of the controller at a real API server: a clean run tells which writes an experiment takes from its creation to its end; then
 * each of them meets each kind of trouble. Afterwards nothing may be in force, the record must be true while it is, and the object must go when
 * it is deleted. `npm test` tries some points, others each day of the year; `npm run test:crash` all of them.
 */
type Trouble = Fate | "killed before" | "killed after" | "stale" | "cut" | "expired";
const troubles: readonly Trouble[] = [
  "lost",
  "unanswered",
  "slow",
  409,
  429,
  500,
  503,
  "killed before",
  "killed after",
  // watches that say nothing for a while, break, or cannot be resumed, from this write on
  "stale",
  "cut",
  "expired",
];

const SHOP = "crash-shop";
const LIMIT_MS = 20_000;
const networkChaos = experimentResource("NetworkChaos");

interface Leader {
  readonly kube: KubeConnection;
  readonly world: World;
  readonly experiments: Experiments;
  readonly end: AbortController;
}

describe("whatever goes wrong between controller and API server", () => {
  const wanted = process.env["SQUALL_CRASH_POINTS"] ?? "16";
  const closers: (() => Promise<void>)[] = [];
  const agents = new FakeAgents(systemClock);
  const uids: string[] = [];
  let direct: KubeConnection;
  let proxy: ApiProxy;
  let leader: Leader | undefined;
  let epoch = 0;
  let number = 0;

  before(async () => {
    const api = await startTestApiServer();
    closers.push(() => api.close());
    proxy = await startApiProxy(api);
    closers.push(() => proxy.close());
    direct = connectKube({ process: "test", version: "0", kubeconfig: api.kubeconfig });
    closers.push(() => direct.close());
    await installCrds(direct);
    await direct.create(namespaces, { metadata: { name: SHOP, labels: { [labels.inject]: OPTED_IN } } });
    for (const [index, name] of ["a", "b"].entries()) {
      const image = { image: "none" };
      const made = await direct.create(pods, {
        metadata: { namespace: SHOP, name, labels: { app: "web", [labels.inject]: OPTED_IN } },
        spec: {
          nodeName: "node",
          initContainers: [{ ...image, name: SIDECAR_CONTAINER, restartPolicy: "Always" }],
          containers: [{ ...image, name: "app" }],
        },
      });
      uids.push(made.metadata.uid);
      const ip = `10.244.0.${index + 1}`;
      const status = { phase: "Running", podIP: ip, podIPs: [{ ip }] };
      await direct.patch(pods, { namespace: SHOP, name }, { status }, { type: "merge", subresource: "status" });
    }
    // the API server takes a moment to serve a new kind
    await until("new kinds are served", () =>
      direct.list(networkChaos).then(
        () => true,
        () => false,
      ),
    );
  });
  after(async () => {
    await stopLeading();
    for (const close of closers.toReversed()) await close();
  });

  async function until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
    const limit = Date.now() + LIMIT_MS;
    while (!(await holds())) {
      if (Date.now() > limit) assert.fail(`not within ${LIMIT_MS} ms: ${what}`);
      await sleep(20);
    }
  }

  async function startLeading(): Promise<void> {
    const kube = connectKube({ process: "controller", version: "0", kubeconfig: proxy.kubeconfig, requestTimeoutMs: 5_000 });
    const world = new World({ kube, clock: systemClock, log: silentLog });
    world.start();
    await world.synced();
    const end = new AbortController();
    const experiments = startExperiments({
      leadership: { epoch: (epoch += 1), signal: end.signal },
      kube,
      world,
      dial: agents.dial,
      clock: systemClock,
      log: silentLog,
      workers: 4,
      randomBelow: (bound) => randomInt(bound),
      isLeading: () => !end.signal.aborted,
      metrics: { startVisit: () => () => undefined, countUnconfirmed: () => assert.fail("a target was left unconfirmed") },
    });
    leader = { kube, world, experiments, end };
  }

  async function stopLeading(): Promise<void> {
    const old = leader;
    leader = undefined;
    if (old === undefined) return;
    old.end.abort(new Error("the leader is gone"));
    await old.kube.close();
    await Promise.all([old.experiments.close(), old.world.close()]);
  }

  const inForce = (): number => uids.filter((uid) => agents.of(uid).inForce.length > 0).length;
  const find = async (name: string): Promise<Experiment | undefined> => {
    try {
      return await direct.get(networkChaos, { namespace: SHOP, name });
    } catch (error) {
      if (isKubeError(error, "not-found")) return undefined;
      throw error;
    }
  };

  /** Plays an experiment from its creation to its end, with trouble at one write; gives the number of writes. */
  async function play(trouble: Trouble, at: number): Promise<number> {
    const name = `cut-${(number += 1)}`;
    let writes = 0;
    let replaced = Promise.resolve();
    const replace = (): void => {
      leader?.end.abort(new Error("the leader is gone"));
      replaced = stopLeading().then(startLeading);
    };
    proxy.onWrite = () => {
      writes += 1;
      if (writes !== at) return "pass";
      if (trouble === "stale") {
        proxy.holdWatches();
        setTimeout(() => proxy.releaseWatches(), 2_000);
      }
      if (trouble === "cut") proxy.cutWatches();
      if (trouble === "expired") proxy.expireWatches();
      if (trouble === "killed before") {
        replace();
        return "lost";
      }
      return typeof trouble === "number" || trouble === "lost" || trouble === "unanswered" || trouble === "slow" ? trouble : "pass";
    };
    proxy.onWritten = () => {
      if (writes === at && trouble === "killed after") replace();
    };
    const unrecorded: string[] = [];
    const checks: Promise<void>[] = [];
    agents.watch = ({ targetUid, faults }) => {
      if (faults.length === 0) return;
      checks.push(
        find(name).then((found) => {
          const record = found?.status.experiment.containerRecords?.find(({ targetUID }) => targetUID === targetUid);
          // one that was deleted meanwhile was on record before
          if (
            found !== undefined &&
            (record === undefined || record.phase === "Not Injected") &&
            found.status.experiment.desiredPhase === "Run"
          )
            unrecorded.push(targetUid);
        }),
      );
    };
    await direct.create(networkChaos, {
      metadata: { namespace: SHOP, name, finalizers: [FINALIZER], annotations: { ...authoredByAdmin, "squall.dev/lease": "10s" } },
      spec: { action: "partition", mode: "one", selector: { namespaces: [SHOP], labelSelectors: { app: "web" } } },
    });
    await until(`${name} is injected`, async () => {
      const records = (await find(name))?.status.experiment.containerRecords ?? [];
      return records.length === 1 && records.every(({ phase }) => phase === "Injected") && inForce() === 1;
    });
    await replaced;
    await direct.delete(networkChaos, { namespace: SHOP, name });
    await until(`${name} is gone`, async () => (await find(name)) === undefined);
    assert.equal(inForce(), 0);
    await replaced;
    // events may still be on their way: they belong to this experiment
    await sleep(100);
    await Promise.all(checks);
    assert.deepEqual(unrecorded, [], "nothing is faulted that is not on record");
    return writes;
  }

  it("an experiment goes as it should", async function () {
    this.timeout(20 * 60_000);
    await startLeading();
    const writes = await play("pass", 0);
    assert.ok(writes >= 4 && writes <= 12, `${writes} writes`);
    const points = troubles.flatMap((trouble) => Array.from({ length: writes }, (_, index) => ({ trouble, at: index + 1 })));
    const day = Math.floor(Date.now() / 86_400_000);
    const step = wanted === "all" ? 1 : Math.max(1, Math.floor(points.length / Number(wanted)));
    const chosen = points.filter((_, index) => (index + day) % step === 0);
    for (const { trouble, at } of chosen) {
      try {
        await play(trouble, at);
      } catch (error) {
        throw new Error(`${trouble} at write ${at} of ${writes}`, { cause: error });
      }
    }
    process.stdout.write(`      ${chosen.length} of ${points.length} points, nothing left\n`);
  });
});
