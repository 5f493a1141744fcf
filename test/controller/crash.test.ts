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

interface Story {
  readonly title: string;
  readonly begin: (cluster: ExperimentCluster) => Promise<void>;
  readonly end: (cluster: ExperimentCluster) => Promise<void>;
}

/** Plays a story with trouble at one write; whoever dies is replaced. Gives whether the trouble came. */
async function play(story: Story, write: number, { moment, error, dies }: Trouble): Promise<boolean> {
  const cluster = new ExperimentCluster();
  let isDead = false;
  let came = false;
  cluster.kube.hook = (now, count) => {
    if (isDead) throw error;
    if (count !== write || now !== moment || came) return;
    came = true;
    if (dies) {
      isDead = true;
      cluster.kill();
    }
    throw error;
  };
  const broken: string[] = [];
  // Whatever happens: nothing is faulted that is not on record.
  cluster.agents.watch = ({ faults }) => {
    for (const { id, experiment } of faults) {
      const name = experiment.split("/")[2] ?? "";
      const records = cluster.find(name)?.status.experiment.containerRecords ?? [];
      if (!records.some(({ phase }) => phase !== "Not Injected")) broken.push(`${id} was sent and is not on record`);
    }
  };
  const carryOn = async (): Promise<void> => {
    if (isDead) {
      isDead = false;
      await cluster.takeOver();
    }
    await cluster.pass(5_000);
  };
  try {
    await cluster.start();
    await story.begin(cluster);
    await carryOn();
    await story.end(cluster);
    await carryOn();
    assert.deepEqual(broken, []);
    return came;
  } finally {
    await cluster.stop();
  }
}

const stories: readonly Story[] = [
  {
    title: "an experiment that is deleted",
    async begin(cluster) {
      cluster.addPod("a");
      cluster.addPod("b");
      await cluster.partition("cut", { mode: "one" });
      await cluster.pass(3_000);
    },
    async end(cluster) {
      await settled(cluster, "cut", "Injected");
      const uid = cluster.experiment("cut").status.experiment.containerRecords?.[0]?.targetUID ?? "";
      assert.deepEqual(cluster.agents.of(uid).inForce.length, 1);
      const other = [cluster.pod("a"), cluster.pod("b")].find(({ metadata }) => metadata.uid !== uid);
      assert.deepEqual(cluster.agents.of(other?.metadata.uid ?? "").inForce, [], "one pod was drawn, once");
      await cluster.delete("cut");
      await cluster.pass(3_000);
    },
  },
  {
    title: "an experiment whose time is over",
    async begin(cluster) {
      cluster.addPod("a");
      await cluster.partition("cut", { duration: "60s" });
      await cluster.pass(3_000);
    },
    async end(cluster) {
      await settled(cluster, "cut", "Injected");
      await cluster.pass(60_000);
    },
  },
];

async function settled(cluster: ExperimentCluster, name: string, phase: string): Promise<void> {
  assert.deepEqual(
    cluster.experiment(name).status.experiment.containerRecords?.map((record) => record.phase),
    [phase],
  );
}

describe("an experiment comes to its end", () => {
  for (const story of stories) {
    for (const [name, trouble] of Object.entries(troubles)) {
      it(`${story.title}, whichever write ${name}`, async () => {
        let count = 0;
        for (let write = 1; write <= MOST_WRITES; write += 1) {
          const checked: Story = {
            ...story,
            async end(cluster) {
              await story.end(cluster);
              if (cluster.find("cut") === undefined) return;
            },
          };
          if (await play(withEnding(checked), write, trouble)) count += 1;
        }
        assert.ok(count >= 5, `${count} writes were in trouble`);
      });
    }
  }
});

/** The end of both stories: nothing is in force anywhere, and the record says so or is gone. */
function withEnding(story: Story): Story {
  return {
    ...story,
    async end(cluster) {
      await story.end(cluster);
      await cluster.pass(10_000);
    },
  };
}
