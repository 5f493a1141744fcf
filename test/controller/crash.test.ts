import assert from "node:assert/strict";
import { KubeError } from "../../kube/errors.ts";
import { playStory, type Story, stories } from "../support/crash-stories.ts";

/** What goes wrong at one write. Watches fail from then on, where it is theirs to. */
const troubles = {
  "is lost": { moment: "before", error: new KubeError("unavailable", "connection refused") },
  "is made and its answer lost": { moment: "after", error: new KubeError("timeout", "no answer") },
  "comes too late": { moment: "before", error: new KubeError("conflict", "the object has been modified") },
  "is throttled": { moment: "before", error: new KubeError("too-many-requests", "slow down", { retryAfterMs: 1_000 }) },
  "is the last thing a leader wants to do": { moment: "before", error: new Error("dead"), dies: true },
  "is the last thing a leader does": { moment: "after", error: new Error("dead"), dies: true },
  "is not seen for three seconds": { moment: "before", watches: "stale" },
  "is the last thing that watches tell before their versions are too old": { moment: "after", watches: "expired" },
} as const satisfies Readonly<Record<string, Trouble>>;

interface Trouble {
  readonly moment: "before" | "after";
  readonly error?: Error;
  readonly dies?: true;
  readonly watches?: "stale" | "expired";
}

/** More than any of the stories has; a write that is never made is never in trouble. */
const MOST_WRITES = 14;
const unavailable = new KubeError("unavailable", "connection refused");

/** Plays a story with trouble at one write; a leader that died is replaced. Gives whether the trouble came. */
async function play(story: Story, write: number, { moment, error, dies, watches }: Trouble): Promise<boolean> {
  let isDead = false;
  let came = false;
  await playStory(story, {
    arm(cluster) {
      cluster.kube.hook = (now, count) => {
        if (isDead && error) throw error;
        if (count !== write || now !== moment || came) return;
        came = true;
        isDead = dies === true;
        if (dies) cluster.kill();
        if (watches === "expired") cluster.kube.compact();
        if (watches === "stale")
          for (const plural of ["networkchaos", "podchaos", "pods"])
            cluster.kube.fail({ verb: "watch", plural, times: 3, error: unavailable });
        if (watches !== undefined) cluster.kube.endWatches(unavailable);
        if (error) throw error;
      };
    },
    async moveOn(cluster) {
      await cluster.pass(1_000);
      if (isDead) await cluster.takeOver();
      isDead = false;
      await cluster.pass(10_000);
    },
  });
  return came;
}

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
