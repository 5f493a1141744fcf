import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { quote } from "../../lab/uml-kernel.ts";

describe("quote", () => {
  for (const text of ["plain", "two words", "it's", '$(id) `id` ${HOME} \\ " * ; & |', "a\nline", ""]) {
    it(`makes one word of ${JSON.stringify(text)} for a shell`, () => {
      assert.equal(execFileSync("sh", ["-c", `printf '[%s]' ${quote(text)}`], { encoding: "utf8" }), `[${text}]`);
    });
  }
});
