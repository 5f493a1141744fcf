import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Compares a text with a file of test/golden; UPDATE_GOLDEN=1 rewrites the file, and the diff is reviewed as code. */
export function assertGolden(name: string, text: string): void {
  const file = join(import.meta.dirname, "..", "golden", name);
  if (process.env["UPDATE_GOLDEN"]) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
  assert.ok(existsSync(file), `${file} is missing. Run UPDATE_GOLDEN=1 npm run test:unit.`);
  assert.equal(text, readFileSync(file, "utf8"));
}
