import assert from "node:assert/strict";
import { errorOfAnswer, errorOfStatus, isTransient, KubeError, type KubeErrorKind } from "../../kube/errors.ts";

const answer = (statusCode: number, status: object | string = {}, retryAfter?: string): KubeError =>
  errorOfAnswer({ request: "GET /x", statusCode, body: typeof status === "string" ? status : JSON.stringify(status), retryAfter });

describe("errorOfAnswer", () => {
  const table: readonly [number, string, KubeErrorKind][] = [
    [400, "BadRequest", "invalid"],
    [401, "Unauthorized", "unauthorized"],
    [403, "Forbidden", "forbidden"],
    [404, "NotFound", "not-found"],
    [409, "AlreadyExists", "already-exists"],
    [409, "Conflict", "conflict"],
    [410, "Expired", "gone"],
    [410, "Gone", "gone"],
    [413, "RequestEntityTooLarge", "invalid"],
    [415, "UnsupportedMediaType", "invalid"],
    [422, "Invalid", "invalid"],
    [429, "TooManyRequests", "too-many-requests"],
    [500, "InternalError", "unavailable"],
    [500, "ServerTimeout", "timeout"],
    [503, "ServiceUnavailable", "unavailable"],
    [504, "Timeout", "timeout"],
    [302, "", "unexpected"],
  ];
  for (const [code, reason, kind] of table)
    it(`reads ${code} ${reason} as ${kind}`, () => {
      assert.equal(answer(code, { kind: "Status", reason }).kind, kind);
    });

  it("says what was asked and what the server said", () => {
    const error = answer(404, { message: 'pods "cart" not found' });
    assert.equal(error.message, 'GET /x was answered with 404: pods "cart" not found');
  });

  it("names the fields that are wrong", () => {
    assert.deepEqual(answer(422, { reason: "Invalid", details: { causes: [{ field: "spec.mode", message: "bad" }] } }).causes, [
      { field: "spec.mode", message: "bad" },
    ]);
  });

  it("takes the wait from the body before the header, and never more than a minute", () => {
    assert.equal(answer(429, { details: { retryAfterSeconds: 2 } }, "9").retryAfterMs, 2000);
    assert.equal(answer(429, {}, "9").retryAfterMs, 9000);
    assert.equal(answer(429, {}, "86400").retryAfterMs, 60_000);
    assert.equal(answer(429, {}, "Wed, 21 Oct 2026 07:28:00 GMT").retryAfterMs, undefined);
  });

  it("quotes the start of a body that is no Status", () => {
    const error = answer(502, `<html>${"x".repeat(5000)}`);
    assert.equal(error.kind, "unavailable");
    assert.ok(error.message.length < 400);
    assert.match(answer(503, "").message, /no text/);
  });
});

describe("errorOfStatus", () => {
  it("reads an ERROR event of a watch", () => {
    assert.equal(errorOfStatus("watch", { kind: "Status", code: 410, reason: "Expired" }).kind, "gone");
    assert.equal(errorOfStatus("watch", undefined).kind, "unavailable");
  });
});

describe("isTransient", () => {
  it("is true only for what time can mend", () => {
    const kinds: readonly KubeErrorKind[] = ["too-many-requests", "unavailable", "timeout", "conflict", "not-found", "forbidden", "gone"];
    assert.deepEqual(
      kinds.filter((kind) => isTransient(new KubeError(kind, ""))),
      ["too-many-requests", "unavailable", "timeout"],
    );
    assert.equal(isTransient(new Error("boom")), false);
  });
});
