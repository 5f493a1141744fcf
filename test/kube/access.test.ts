import assert from "node:assert/strict";
import type { Author } from "../../api/author.ts";
import { describeRight, type Right } from "../../api/reach.ts";
import { type AccessReviews, createAccessReviews } from "../../kube/access.ts";
import { KubeError } from "../../kube/errors.ts";
import { subjectAccessReviews } from "../../kube/resources.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { FakeKube } from "../support/fake-kube.ts";

const alice: Author = { username: "alice", uid: "u-1", groups: ["shop-team"], extra: { "example.com/scopes": ["chaos"] } };
const bob: Author = { username: "bob", groups: [], extra: {} };

const create = (namespace: string | undefined, resource = "networkchaos"): Right => ({
  verb: "create",
  group: "chaos-mesh.org",
  resource,
  isNamespaced: true,
  namespace,
  path: "spec",
});

describe("createAccessReviews", () => {
  let kube: FakeKube;
  let clock: FakeClock;
  let reviews: AccessReviews;
  /** Namespaces that anybody may create in; "" stands for all at once. */
  let open: Set<string>;
  beforeEach(() => {
    clock = new FakeClock();
    kube = new FakeKube({ now: () => clock.now() });
    open = new Set(["shop"]);
    kube.answer(subjectAccessReviews, ({ spec }) => {
      const { resourceAttributes } = spec as { readonly resourceAttributes: { readonly namespace?: string } };
      return { status: { allowed: open.has(resourceAttributes.namespace ?? "") || open.has("") } };
    });
    reviews = createAccessReviews({ kube, clock });
  });
  const missing = async (rights: readonly Right[], author = alice): Promise<readonly string[]> =>
    (await reviews.findMissing(author, rights, AbortSignal.timeout(1_000))).map(describeRight);
  const questions = (): readonly unknown[] => kube.requests.map(({ body }) => (body as { readonly spec: unknown }).spec);

  it("asks as the author, with all that the API server knows of them", async () => {
    const secret: Right = { ...create("vault", "secrets"), verb: "get", group: "", name: "tls" };
    await missing([secret]);
    assert.deepEqual(questions(), [
      {
        user: "alice",
        uid: "u-1",
        groups: ["shop-team"],
        extra: { "example.com/scopes": ["chaos"] },
        resourceAttributes: { verb: "get", group: "", resource: "secrets", namespace: "vault", name: "tls" },
      },
    ]);
  });

  it("names all that is missing, in the order in which the object asks for it", async () => {
    assert.deepEqual(await missing([create("shop"), create("bank"), create("data")]), [
      "create networkchaos.chaos-mesh.org in namespace bank",
      "create networkchaos.chaos-mesh.org in namespace data",
    ]);
  });

  it("asks about all namespaces where the object needs all of them", async () => {
    assert.deepEqual(await missing([create("shop"), create(undefined)]), ["create networkchaos.chaos-mesh.org in all namespaces"]);
    open.add("");
    await clock.advance(1_001);
    assert.deepEqual(await missing([create("shop"), create(undefined)]), []);
  });

  it("asks one question about many namespaces, and one each only where that is denied", async () => {
    const many = Array.from({ length: 20 }, (_, index) => create(`team-${index}`));
    assert.equal((await missing(many)).length, 20);
    assert.equal(kube.requests.length, 21);
    open.add("");
    await missing(many, bob);
    assert.equal(kube.requests.length, 22);
  });

  it("wants the right in all namespaces of whoever touches more than 500", async () => {
    const huge = Array.from({ length: 501 }, (_, index) => create(`team-${index}`));
    assert.deepEqual(await missing(huge), ["create networkchaos.chaos-mesh.org in all namespaces"]);
    assert.equal(kube.requests.length, 1);
  });

  it("remembers a yes for 5 s and a no for 1 s, for this author and right alone", async () => {
    await missing([create("shop"), create("bank")]);
    await missing([create("shop"), create("bank")]);
    assert.equal(kube.requests.length, 2);
    await missing([create("shop")], { ...alice, groups: [] });
    await missing([create("shop", "podchaos")]);
    assert.equal(kube.requests.length, 4);
    open.add("bank");
    await clock.advance(1_001);
    assert.deepEqual(await missing([create("shop"), create("bank")]), []);
    assert.equal(kube.requests.length, 5);
    open.delete("shop");
    await clock.advance(4_000);
    assert.deepEqual(await missing([create("shop")]), ["create networkchaos.chaos-mesh.org in namespace shop"]);
  });

  it("forgets what was not asked for longest when it remembers too much", async () => {
    for (let index = 0; index < 4_096; index++) await missing([create(`ns-${index}`)]);
    await missing([create("ns-0")]);
    await missing([create("one-more")]);
    assert.equal(kube.requests.length, 4_097);
    await missing([create("ns-0")]);
    assert.equal(kube.requests.length, 4_097);
    await missing([create("ns-1")]);
    assert.equal(kube.requests.length, 4_098);
  });

  it("says nothing, and remembers nothing, when it could not ask", async () => {
    kube.fail({ verb: "create", plural: "subjectaccessreviews", error: new KubeError("unavailable", "the server is down") });
    await assert.rejects(missing([create("shop")]), /the server is down/);
    assert.deepEqual(await missing([create("shop")]), []);
    const held = Promise.withResolvers<void>();
    kube.fail({ verb: "create", plural: "subjectaccessreviews", until: held.promise });
    const late = new AbortController();
    const asking = reviews.findMissing(bob, [create("shop")], late.signal);
    late.abort(new Error("too late"));
    await assert.rejects(asking, /too late/);
  });
});
