import assert from "node:assert/strict";
import { LONGEST_AUTHOR, renderAuthor } from "../../api/author.ts";
import { kinds } from "../../api/kinds/registry.ts";
import { createAccessReviews } from "../../kube/access.ts";
import { KubeError } from "../../kube/errors.ts";
import { subjectAccessReviews } from "../../kube/resources.ts";
import type { Verdict } from "../../webhook/admission-review.ts";
import { createAuthorise } from "../../webhook/authorise.ts";
import { alice } from "../support/admission.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { FakeKube } from "../support/fake-kube.ts";

describe("createAuthorise", () => {
  let kube: FakeKube;
  let clock: FakeClock;
  beforeEach(() => {
    clock = new FakeClock();
    kube = new FakeKube();
    kube.answer(subjectAccessReviews, ({ spec }) => {
      const { resourceAttributes } = spec as { readonly resourceAttributes: { readonly namespace?: string } };
      return { status: { allowed: resourceAttributes.namespace === "shop" } };
    });
  });
  const ask = (selector: object, author: string | undefined = renderAuthor(alice), isBeingCreated = false): Promise<Verdict> => {
    const judged = kinds.NetworkChaos.judge({ spec: { action: "partition", mode: "all", selector } }, { namespace: "shop" });
    assert.ok(judged.ok);
    return createAuthorise({ access: createAccessReviews({ kube, clock }), clock })(author, {
      kind: "NetworkChaos",
      judged,
      namespace: "shop",
      name: "NetworkChaos cut",
      isBeingCreated,
    });
  };

  it("allows what the author may do", async () => assert.equal((await ask({})).isAllowed, true));

  it("asks nothing that the API server has just said by letting the author create the object", async () => {
    assert.equal((await ask({}, renderAuthor(alice), true)).isAllowed, true);
    assert.equal(kube.requests.length, 0);
    assert.equal((await ask({ namespaces: ["shop", "bank"] }, renderAuthor(alice), true)).code, "Forbidden");
    assert.equal(kube.requests.length, 1);
  });

  it("names all that is missing: where it is asked for, what it is, and how to ask for oneself; and never a pod", async () => {
    const verdict = await ask({ namespaces: ["shop", "bank"], pods: { data: ["db-0"] } });
    assert.equal(verdict.code, "Forbidden");
    assert.equal(verdict.retryAfterSeconds, undefined);
    assert.equal(
      verdict.message,
      [
        '"alice" may not do all that NetworkChaos cut does: these 2 rights are missing.',
        "  spec.selector.namespaces[1]: create networkchaos.chaos-mesh.org in namespace bank. Try: kubectl auth can-i create networkchaos.chaos-mesh.org -n bank",
        "  spec.selector.pods.data: create networkchaos.chaos-mesh.org in namespace data. Try: kubectl auth can-i create networkchaos.chaos-mesh.org -n data",
      ].join("\n"),
    );
    assert.doesNotMatch(verdict.message, /db-0/);
  });

  it("says how many more are missing where there are many", async () => {
    const { message } = await ask({ namespaces: Array.from({ length: 30 }, (_, index) => `team-${index}`) });
    assert.match(message, /these 30 rights are missing/);
    assert.match(message, /\n {2}and 10 more$/);
  });

  it("refuses for now when the API server does not answer in time, or at all", async () => {
    kube.fail({ verb: "create", error: new KubeError("unavailable", "POST was answered with 503: no text") });
    const failed = await ask({});
    assert.deepEqual([failed.isAllowed, failed.code, failed.retryAfterSeconds], [false, "AuthorisationUnavailable", 1]);
    assert.match(failed.message, /did not say what "alice" may do, so nothing was changed\. Try again\. POST was answered with 503/);
    kube.fail({ verb: "create", until: new Promise(() => undefined) });
    const waiting = ask({});
    await clock.advance(3_500);
    assert.match((await waiting).message, /There was no answer within 3\.5 s/);
  });

  it("refuses what nobody answers for", async () => {
    for (const author of ["{}", "alice"]) assert.equal((await ask({}, author)).code, "NoAuthor");
    assert.equal(kube.requests.length, 0);
  });

  it("refuses an author that cannot be kept", async () => {
    const groups = Array.from({ length: 2_000 }, (_, index) => `CN=group-${index},OU=Teams,DC=example,DC=com`);
    const verdict = await ask({}, renderAuthor({ ...alice, groups }));
    assert.equal(verdict.code, "AuthorTooLarge");
    assert.match(verdict.message, new RegExp(`and ${LONGEST_AUTHOR} can be kept`));
  });
});
