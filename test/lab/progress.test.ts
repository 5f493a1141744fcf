import assert from "node:assert/strict";
import { describeCluster } from "../../lab/cluster.ts";
import { elapsed } from "../../lab/progress.ts";

describe("elapsed", () => {
  it("counts seconds, and minutes from one on", () => {
    assert.equal(elapsed(8_400), "8 s");
    assert.equal(elapsed(59_499), "59 s");
    assert.equal(elapsed(200_000), "3 min 20 s");
  });
});

describe("describeCluster", () => {
  it("says what to do about a broken cluster and where there is none", () => {
    assert.match(describeCluster({ is: "broken", why: "kubelet not running" }), /kubelet not running.*lab -- up.*lab -- down/);
    assert.match(describeCluster({ is: "down" }), /lab -- up/);
  });
});
