import assert from "node:assert/strict";
import { annotations } from "../../common/names.ts";
import { experimentResource } from "../../kube/experiments.ts";
import { ExperimentCluster, PAUSE_IMAGE } from "./experiment-cluster.ts";

/** What users go through, for a test to let something go wrong at each step. The world moves on between the parts. */
export interface Story {
  readonly title: string;
  readonly begin: (cluster: ExperimentCluster) => Promise<void>;
  readonly middle: (cluster: ExperimentCluster) => void;
  readonly end: (cluster: ExperimentCluster) => Promise<void>;
  readonly after: (cluster: ExperimentCluster) => void;
}

/** What goes wrong in a story. */
export interface Nemesis {
  /** Before the first leader starts. */
  arm(cluster: ExperimentCluster): void;
  /** Long enough for everything to be well again. */
  moveOn(cluster: ExperimentCluster): Promise<void>;
}

/** Plays a story; fails where its end is not as it should be, or where something was faulted that was not on record. */
export async function playStory(story: Story, nemesis: Nemesis): Promise<void> {
  const cluster = new ExperimentCluster();
  nemesis.arm(cluster);
  const unrecorded: string[] = [];
  cluster.agents.watch = ({ faults }) => {
    for (const { id, experiment, experimentUid } of faults) {
      const found = cluster.find(experiment.split("/")[2] ?? "");
      if (found === undefined || found.metadata.uid !== experimentUid) continue; // it was on record before it went
      const records = found.status.experiment.containerRecords ?? [];
      if (!records.some(({ phase }) => phase !== "Not Injected")) unrecorded.push(id);
    }
  };
  cluster.kube.watchPods = ({ name }) => {
    const claim = JSON.parse(cluster.pod(name).metadata.annotations?.[annotations.podFailure] ?? '{"holders":[]}') as {
      readonly holders: readonly string[];
    };
    for (const experiment of ["fail", "short"]) {
      const found = cluster.find(experiment, "PodChaos");
      const records = found?.status.experiment.containerRecords ?? [];
      const isHeld = found !== undefined && claim.holders.includes(found.metadata.uid);
      if (isHeld && !records.some(({ id, phase }) => id === `shop/${name}` && phase !== "Not Injected"))
        unrecorded.push(`${experiment} on ${name}`);
    }
  };
  try {
    await cluster.start();
    await story.begin(cluster);
    await nemesis.moveOn(cluster);
    story.middle(cluster);
    await story.end(cluster);
    await nemesis.moveOn(cluster);
    story.after(cluster);
    assert.deepEqual(unrecorded, [], "something was faulted that was not on record");
  } finally {
    await cluster.stop();
  }
}

/** Names of the pods that have a fault, by what their agents hold. */
const inForce = (cluster: ExperimentCluster): readonly string[] =>
  ["a", "b"].filter((name) => cluster.hasPod(name) && cluster.agents.of(cluster.pod(name).metadata.uid).inForce.length > 0);

/** One with a fault, recorded by name. */
function assertCut(cluster: ExperimentCluster, ...names: readonly string[]): void {
  assert.deepEqual(
    cluster.records("cut"),
    names.map((name) => `shop/${name}: Injected`),
  );
  assert.deepEqual(inForce(cluster), names);
}

/** Names of the pods in which the pause image stands, or what says so. */
const changed = (cluster: ExperimentCluster): readonly string[] =>
  ["a", "b"].filter(
    (name) =>
      cluster.hasPod(name) &&
      (cluster.images(name).includes(PAUSE_IMAGE) || cluster.pod(name).metadata.annotations?.[annotations.podFailure] !== undefined),
  );

const podFailure = { action: "pod-failure" };

export const stories: readonly Story[] = [
  {
    title: "an experiment on one of two pods that is deleted",
    async begin(cluster) {
      cluster.addPod("a");
      cluster.addPod("b");
      await cluster.partition("cut", { mode: "one" });
    },
    middle: (cluster) => assertCut(cluster, "a"),
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
    middle: (cluster) => assertCut(cluster, "a"),
    end: (cluster) => cluster.pass(60_000),
    after(cluster) {
      assert.deepEqual(cluster.records("cut"), ["shop/a: Not Injected"]);
      const [record] = cluster.experiment("cut").status.experiment.containerRecords ?? [];
      assert.deepEqual([record?.injectedCount, record?.recoveredCount], [1, 1]);
      assert.deepEqual(inForce(cluster), []);
    },
  },
  {
    title: "an experiment that is made anew under its name, while its finalizer is taken away by force",
    async begin(cluster) {
      cluster.addPod("a");
      cluster.addPod("b");
      await cluster.partition("cut", { mode: "one" });
    },
    middle: (cluster) => assertCut(cluster, "a"),
    async end(cluster) {
      cluster.kube.remove(experimentResource("NetworkChaos"), { namespace: "shop", name: "cut" });
      await cluster.partition("cut");
    },
    after(cluster) {
      assertCut(cluster, "a", "b");
      for (const name of ["a", "b"]) {
        const owners = cluster.agents.of(cluster.pod(name).metadata.uid).faults.map(({ experimentUid }) => experimentUid);
        assert.deepEqual(owners, [cluster.experiment("cut").metadata.uid]);
      }
    },
  },
  {
    title: "an experiment one of whose pods is replaced under its name",
    async begin(cluster) {
      cluster.addPod("a");
      cluster.addPod("b");
      await cluster.partition("cut");
    },
    middle: (cluster) => assertCut(cluster, "a", "b"),
    async end(cluster) {
      cluster.addPod("a");
      await cluster.pass(0);
    },
    after(cluster) {
      assert.deepEqual(cluster.records("cut"), ["shop/a: Not Injected TargetGone", "shop/b: Injected"]);
      assert.deepEqual(inForce(cluster), ["b"]);
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
  {
    title: "a pod-failure of two pods that is deleted",
    async begin(cluster) {
      cluster.addPod("a");
      cluster.addPod("b");
      await cluster.apply("PodChaos", "fail", podFailure);
    },
    middle(cluster) {
      assert.deepEqual(cluster.records("fail", "PodChaos"), ["shop/a: Injected", "shop/b: Injected"]);
      assert.deepEqual([...cluster.images("a"), ...cluster.images("b")], [PAUSE_IMAGE, PAUSE_IMAGE]);
    },
    end: (cluster) => cluster.delete("fail", "PodChaos"),
    after(cluster) {
      assert.equal(cluster.find("fail", "PodChaos"), undefined);
      assert.deepEqual([...cluster.images("a"), ...cluster.images("b")], ["app:1", "app:1"]);
      assert.deepEqual(changed(cluster), []);
      assert.equal(cluster.unconfirmed, 0);
    },
  },
  {
    title: "a pod-failure whose time is over, of a pod that another one still holds",
    async begin(cluster) {
      cluster.addPod("a");
      await cluster.apply("PodChaos", "short", { ...podFailure, duration: "60s" });
      await cluster.apply("PodChaos", "fail", podFailure);
    },
    middle: (cluster) => assert.deepEqual(cluster.records("short", "PodChaos"), ["shop/a: Injected"]),
    end: (cluster) => cluster.pass(60_000),
    after(cluster) {
      assert.deepEqual(cluster.records("short", "PodChaos"), ["shop/a: Not Injected"]);
      assert.deepEqual(cluster.records("fail", "PodChaos"), ["shop/a: Injected"]);
      assert.deepEqual(cluster.images("a"), [PAUSE_IMAGE]);
    },
  },
  {
    title: "a pod-failure whose finalizer is taken away by force",
    async begin(cluster) {
      cluster.addPod("a");
      cluster.addPod("b");
      await cluster.apply("PodChaos", "fail", podFailure);
    },
    middle: (cluster) => assert.deepEqual(changed(cluster), ["a", "b"]),
    async end(cluster) {
      cluster.kube.remove(experimentResource("PodChaos"), { namespace: "shop", name: "fail" });
      await cluster.pass(1_000);
    },
    after: (cluster) => assert.deepEqual([...cluster.images("a"), ...cluster.images("b"), ...changed(cluster)], ["app:1", "app:1"]),
  },
];
