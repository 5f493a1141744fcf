import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";

describe("squall", () => {
  it("prints text or JSON, and refuses other formats", () =>
    assert.rejects(promisify(execFile)(process.execPath, ["cli/main.ts", "-o", "yaml", "doctor"]), /Allowed choices are text, json\./));
});
