import assert from "node:assert/strict";
import { KubeError } from "../../kube/errors.ts";
import { ExperimentCluster } from "../support/experiment-cluster.ts";

/** What goes wrong at one write. */
const troubles = {
  "is lost": { moment: "before", error: new KubeError("unavailable", "connection refused"), dies: false },
  "is made and its answer lost": { moment: "after", error: new KubeError("timeout", "no answer"), dies: false },
  "comes too late": { moment: "before", error: new KubeError("conflict", "the object has been modified"), dies: false },
  "is throttled": { moment: "before", error: new KubeError("too-many-requests", "slow down", { retryAfterMs: 1_000 }), dies: false },
  "is the last thing a leader wants to do": { moment: "before", error: new Error("dead"), dies: true },
  "is the last thing a leader does": { moment: "after", error: new Error("dead"), dies: true },
} as const;
type Trouble = (typeof troubles)[keyof typeof troubles];

/** More than any of the stories has; a write that is never made is never in trouble. */
const MOST_WRITES = 10;

/** The world moves on between the parts, and a leader that died is replaced. */
interface Story {
  readonly title: string;
  readonly begin: (cluster: ExperimentCluster) => Promise<void>;
  readonly middle: (cluster: ExperimentCluster) => void;
  readonly end: (cluster: ExperimentCluster) => Promise<void>;
  readonly after: (cluster: ExperimentCluster) => void;
}

/** Plays a story with trouble at one write. Gives whether the trouble came. */
async function play(story: Story, write: number, { moment, error, dies }: Trouble): Promise<boolean> {
  const cluster = new ExperimentCluster();
  let isDead = false;
  let came = false;
  cluster.kube.hook = (now, count) => {
    if (isDead) throw error;
    if (count !== write || now !== moment || came) return;
    came = true;
    isDead = dies;
    if (dies) cluster.kill();
    throw error;
  };
  const unrecorded: string[] = [];
  cluster.agents.watch = ({ faults }) => {
    for (const { id, experiment } of faults) {
      const records = cluster.find(experiment.split("/")[2] ?? "")?.status.experiment.containerRecords ?? [];
      if (!records.some(({ phase }) => phase !== "Not Injected")) unrecorded.push(id);
    }
  };
  const moveOn = async (): Promise<void> => {
    await cluster.pass(1_000);
    if (isDead) await cluster.takeOver();
    isDead = false;
    await cluster.pass(10_000);
  };
  try {
    await cluster.start();
    await story.begin(cluster);
    await moveOn();
    story.middle(cluster);
    await story.end(cluster);
    await moveOn();
    story.after(cluster);
    assert.deepEqual(unrecorded, [], "nothing is faulted that is not on record");
    return came;
  } finally {
    await cluster.stop();
  }
}

const inForce = (cluster: ExperimentCluster): readonly string[] =>
  ["a", "b"].filter((name) => cluster.hasPod(name) && cluster.agents.of(cluster.pod(name).metadata.uid).inForce.length > 0);

const stories: readonly Story[] = [
  {
    title: "an experiment on one of two pods that is deleted",
    async begin(cluster) {
      cluster.addPod("a");
      cluster.addPod("b");
      await cluster.partition("cut", { mode: "one" });
    },
    middle(cluster) {
      assert.deepEqual(cluster.records("cut"), ["shop/a: Injected"]);
      assert.deepEqual(inForce(cluster), ["a"]);
    },
    end: (cluster) => cluster.delete("cut"),
    after(cluster) {
      assert.equal(cluster.find("cut"), undefined);
      assert.deepEqual(inForce(cluster), []);
      assert.equal(cluster.unconfirmed, 0);
    },
  },
  {
    title: "an experiment whose time is over",
    async begin(cluster) {
      cluster.addPod("a");
      await cluster.partition("cut", { duration: "60s" });
    },
    middle(cluster) {
      assert.deepEqual(cluster.records("cut"), ["shop/a: Injected"]);
      assert.deepEqual(inForce(cluster), ["a"]);
    },
    end: (cluster) => cluster.pass(60_000),
    after(cluster) {
      assert.deepEqual(cluster.records("cut"), ["shop/a: Not Injected"]);
      const [record] = cluster.experiment("cut").status.experiment.containerRecords ?? [];
      assert.deepEqual([record?.injectedCount, record?.recoveredCount], [1, 1]);
      assert.deepEqual(inForce(cluster), []);
    },
  },
  {
    title: "a pod-kill of one of two pods",
    async begin(cluster) {
      cluster.addPod("a");
      cluster.addPod("b");
      await cluster.apply("PodChaos", "kill", { action: "pod-kill", mode: "one" });
    },
    middle(cluster) {
      assert.deepEqual([cluster.hasPod("a"), cluster.hasPod("b")], [false, true]);
      assert.match(cluster.records("kill", "PodChaos").join(), /^shop\/a: Injected( TargetGone)?$/);
      assert.equal(cluster.experiment("kill", "PodChaos").status.experiment.containerRecords?.[0]?.injectedCount, 1);
      // The ReplicaSet's answer; here it even takes the old name, as a StatefulSet would.
      cluster.addPod("a");
    },
    end: (cluster) => cluster.delete("kill", "PodChaos"),
    after(cluster) {
      assert.deepEqual([cluster.hasPod("a"), cluster.hasPod("b")], [true, true]);
      assert.equal(cluster.find("kill", "PodChaos"), undefined);
    },
  },
];

describe("whatever goes wrong with a write", () => {
  for (const story of stories) {
    for (const [name, trouble] of Object.entries(troubles)) {
      it(`${story.title} goes as it should when it ${name}`, async () => {
        let count = 0;
        for (let write = 1; write <= MOST_WRITES; write += 1) if (await play(story, write, trouble)) count += 1;
        assert.ok(count >= 5, `only ${count} writes were in trouble`);
      });
    }
  }
});
