import assert from "node:assert/strict";
import type { JsonObject } from "../../api/json.ts";
import { renderAuthor } from "../../api/author.ts";
import { annotations, CONTROLLER_ACCOUNT } from "../../common/names.ts";
import { readAuthor, withAuthor } from "../../webhook/author.ts";
import { admit, alice, reviewOf } from "../support/admission.ts";

const spec = { action: "delay", mode: "all", delay: { latency: "200ms" } };
const bob = { username: "bob", groups: ["ops"], extra: {} };
const controller = { username: CONTROLLER_ACCOUNT, groups: ["system:serviceaccounts"], extra: {} };
const authored = (text: string): { readonly annotations: object } => ({ annotations: { [annotations.author]: text } });
const stored = async (): Promise<Record<string, unknown>> => ({ ...(await admit(reviewOf(spec))).object });
const withoutAnnotations = (object: JsonObject): Record<string, unknown> => ({
  ...object,
  metadata: { ...Object(object["metadata"]), annotations: undefined },
});

describe("the author of an object", () => {
  it("is whoever creates it, whatever they wrote there themselves", async () => {
    const { object, warnings, verdict } = await admit(reviewOf(spec, { metadata: authored(renderAuthor(bob)) }));
    assert.ok(verdict.isAllowed);
    assert.equal(readAuthor(object), renderAuthor(alice));
    assert.match(warnings[0] ?? "", /^squall\.dev\/author says who answers/);
  });

  it("stays when others change metadata, take the annotation away or write another one", async () => {
    const before = await stored();
    const update = { operation: "UPDATE", oldObject: before, userInfo: bob } as const;
    for (const object of [before, withoutAnnotations(before), { ...withAuthor(before, renderAuthor(bob)) }]) {
      const after = await admit(reviewOf(spec, { ...update, object }));
      assert.ok(after.verdict.isAllowed);
      assert.equal(readAuthor(after.object), renderAuthor(alice));
      assert.equal(after.warnings.length, readAuthor(object) === renderAuthor(bob) ? 1 : 0);
    }
  });

  it("stays nobody where there was none, until the spec changes", async () => {
    const before = withoutAnnotations(await stored());
    const claim = { ...withAuthor(before, renderAuthor(bob)) };
    const after = await admit(reviewOf(spec, { operation: "UPDATE", oldObject: before, object: claim, userInfo: bob }));
    assert.ok(after.verdict.isAllowed);
    assert.equal(readAuthor(after.object), undefined);
  });

  it("may not be changed by another webhook", async () => {
    const { verdict } = await admit(reviewOf(spec), { between: (object) => withAuthor(object, renderAuthor(bob)) });
    assert.equal(verdict.code, "AuthorChanged");
    assert.match(verdict.message, /metadata\.annotations\["squall\.dev\/author"\]/);
  });

  it("is the parent's where the controller makes a child", async () => {
    const asked = reviewOf(spec, { userInfo: controller, metadata: authored(renderAuthor(bob)) });
    const seen: (string | boolean | undefined)[] = [];
    const { object, verdict, warnings } = await admit(asked, {
      authorise: (author, { isBeingCreated }) => {
        seen.push(author, isBeingCreated);
        return Promise.resolve({ isAllowed: true, code: "", message: "" });
      },
    });
    assert.ok(verdict.isAllowed);
    assert.equal(readAuthor(object), renderAuthor(bob));
    // It was the controller that the API server let create it.
    assert.deepEqual([seen, warnings], [[renderAuthor(bob), false], []]);
  });

  it("is not the controller when it changes metadata of somebody's object", async () => {
    const before = await stored();
    const after = await admit(reviewOf(spec, { operation: "UPDATE", oldObject: before, object: before, userInfo: controller }));
    assert.equal(readAuthor(after.object), renderAuthor(alice));
  });

  it("is only the controller's to hand on by the name that was set", async () => {
    const other = { ...controller, username: "system:serviceaccount:chaos:squall-controller" };
    const asked = reviewOf(spec, { userInfo: other, metadata: authored(renderAuthor(bob)) });
    assert.equal(readAuthor((await admit(asked)).object), renderAuthor(other));
    const policy = { admitUnsupported: false, controllerAccount: other.username };
    assert.equal(readAuthor((await admit(asked, { policy })).object), renderAuthor(bob));
  });
});
