import assert from "node:assert/strict";
import { renderAuthor } from "../../api/author.ts";
import type { Right } from "../../api/reach.ts";
import type { AdmissionRequest, Verdict } from "../../webhook/admission-review.ts";
import { judgeLift } from "../../webhook/lift.ts";
import { alice, reviewOf } from "../support/admission.ts";
import { FakeClock } from "../support/fake-clock.ts";

const bob = { ...alice, username: "bob", uid: "u-2" };

function lift({
  by = alice,
  madeBy = alice,
  metadata = {},
  findMissing = (rights: readonly Right[]) => Promise.resolve(rights),
  kindName = "Halt",
}: {
  readonly by?: AdmissionRequest["userInfo"];
  readonly madeBy?: typeof alice | "nobody known";
  readonly metadata?: object;
  readonly findMissing?: (rights: readonly Right[]) => Promise<readonly Right[]>;
  readonly kindName?: string;
}): Promise<Verdict> {
  const annotations = madeBy === "nobody known" ? {} : { "squall.dev/author": renderAuthor(madeBy) };
  const { object } = reviewOf({}, { kindName, metadata: { annotations, ...metadata } });
  const request = reviewOf({}, { kindName, operation: "DELETE", object: null, oldObject: object, userInfo: by });
  return judgeLift(request, { access: { findMissing: (_, rights) => findMissing(rights) }, clock: new FakeClock() });
}

describe("the deletion of a Halt", () => {
  it("is its author's, whatever else they may do", async () => assert.ok((await lift({})).isAllowed));

  it("is an operator's, who may halt the cluster", async () => {
    const asked: Right[] = [];
    const verdict = await lift({
      by: bob,
      findMissing: (rights) => {
        asked.push(...rights);
        return Promise.resolve([]);
      },
    });
    assert.ok(verdict.isAllowed);
    assert.deepEqual(
      asked.map(({ verb, group, resource }) => [verb, group, resource]),
      [["create", "squall.dev", "clusterhalts"]],
    );
  });

  it("is refused to anybody else, and to one of the same name with another uid", async () => {
    for (const by of [bob, { ...alice, uid: "u-9" }]) {
      const verdict = await lift({ by });
      assert.deepEqual([verdict.isAllowed, verdict.code], [false, "Forbidden"]);
      assert.match(
        verdict.message,
        /only be deleted by "alice", who made it, or by an operator: .* Try: kubectl auth can-i create clusterhalts\.squall\.dev$/,
      );
    }
    assert.match((await lift({ by: bob, madeBy: "nobody known" })).message, /only be deleted by an operator/);
  });

  it("waits for an API server that does not answer, and says so", async () => {
    const verdict = await lift({ by: bob, findMissing: () => Promise.reject(new Error("down")) });
    assert.deepEqual([verdict.isAllowed, verdict.code, verdict.retryAfterSeconds], [false, "AuthorisationUnavailable", 1]);
  });

  it("is not held up where the namespace goes, and not judged of a ClusterHalt", async () => {
    assert.ok((await lift({ by: bob, metadata: { deletionTimestamp: "2026-01-01T00:00:00Z" } })).isAllowed);
    assert.ok((await lift({ by: bob, kindName: "ClusterHalt" })).isAllowed);
  });
});
