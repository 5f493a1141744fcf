import assert from "node:assert/strict";
import fc from "fast-check";
import { type Author, LONGEST_AUTHOR, parseAuthor, renderAuthor } from "../../api/author.ts";

const alice: Author = { username: "alice", uid: "u-1", groups: ["shop-team"], extra: { "example.com/scopes": ["chaos"] } };

describe("the author's annotation", () => {
  it("is one line of JSON without what is empty", () => {
    assert.equal(renderAuthor(alice), '{"username":"alice","uid":"u-1","groups":["shop-team"],"extra":{"example.com/scopes":["chaos"]}}');
    assert.equal(renderAuthor({ username: "bob", uid: "", groups: [], extra: {} }), '{"username":"bob"}');
  });

  it("gives back who was written there", () => {
    const texts = fc.string({ minLength: 1 });
    const anybody = fc.record(
      {
        username: texts,
        uid: texts,
        groups: fc.array(fc.string()),
        // zod drops this one on purpose
        extra: fc.dictionary(
          texts.filter((key) => key !== "__proto__"),
          fc.array(fc.string()),
          { noNullPrototype: true },
        ),
      },
      { noNullPrototype: true },
    );
    fc.assert(fc.property(anybody, (author) => assert.deepEqual(parseAuthor(renderAuthor(author)), author)));
  });

  for (const text of [
    undefined,
    "",
    "alice",
    "{}",
    "[]",
    '{"username":""}',
    '{"username":"a","groups":"b"}',
    `"${"x".repeat(LONGEST_AUTHOR)}"`,
  ])
    it(`names nobody when it is ${String(text).slice(0, 40) || "empty"}`, () => assert.equal(parseAuthor(text), undefined));
});
