import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { skipSentences } from "../../api/injection.ts";
import { skipReasons } from "../../api/selection.ts";
import { conditionReasons, recordReasons } from "../../controller/reasons.ts";

const root = join(import.meta.dirname, "..", "..");
const page = readFileSync(join(root, "docs/reasons.md"), "utf8");

/** Codes that are written where they are used: in a refusal of an agent or of the webhook. */
const written = [
  { files: "{agent,daemon,sidecar}/**/*.ts", pattern: /(?:refuse\(\s*|reason: |[?:] )"([A-Z][a-z]+[A-Z][a-zA-Z]+)"/g },
  { files: "webhook/*.ts", pattern: /(?:refuse\(\s*|code: )"([A-Z][a-zA-Z]+)"/g },
].flatMap(({ files, pattern }) =>
  globSync(files, { cwd: root }).flatMap((file) =>
    [...readFileSync(join(root, file), "utf8").matchAll(pattern)].map((match) => match[1] ?? ""),
  ),
);

describe("docs/reasons.md", () => {
  const codes = [
    ...Object.keys(skipSentences),
    ...skipReasons,
    ...Object.values(recordReasons),
    ...Object.values(conditionReasons),
    ...written,
  ];
  for (const code of new Set(codes)) {
    it(`explains ${code}`, () => assert.ok(page.includes(`\`${code}\``)));
  }

  it("was compared with codes of agent and webhook, too", () => {
    for (const code of ["InvalidPeers", "InvalidSpec", "NotYetSupported"])
      assert.ok(written.includes(code), `${code} was not found in the code`);
  });
});
