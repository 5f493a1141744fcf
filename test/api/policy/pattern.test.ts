import assert from "node:assert/strict";
import fc from "fast-check";
import { matchesPattern } from "../../../api/policy/pattern.ts";

describe("matchesPattern", () => {
  it("takes * for any text and ? for one character, and everything else for itself", () => {
    const table: readonly (readonly [text: string, pattern: string, matches: boolean])[] = [
      ["OPS-1", "OPS-*", true],
      ["OPS-", "OPS-*", true],
      ["xOPS-1", "OPS-*", false],
      ["OPS-1", "OPS-?", true],
      ["OPS-12", "OPS-?", false],
      ["a.c", "a.c", true],
      ["abc", "a.c", false],
      ["", "*", true],
      ["", "?", false],
      ["abcabd", "*ab?", true],
      ["aXbXc", "a*b*c", true],
    ];
    for (const [text, pattern, matches] of table) assert.equal(matchesPattern(text, pattern), matches, `${text} ~ ${pattern}`);
  });

  it("agrees with a regular expression, whatever is written", () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b", "*", "?", "."), maxLength: 8 });
    fc.assert(
      fc.property(letters, letters, (text, pattern) => {
        const source = pattern.replaceAll(/[.]/g, "\\.").replaceAll("*", "[^]*").replaceAll("?", "[^]");
        assert.equal(matchesPattern(text, pattern), new RegExp(`^${source}$`).test(text));
      }),
    );
  });

  it("takes no time over what makes regular expressions hang", () => {
    assert.equal(matchesPattern("a".repeat(4_096), `${"*a".repeat(127)}*b`), false);
  });
});
