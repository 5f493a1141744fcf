import assert from "node:assert/strict";
import { AbsentNames } from "../../../sidecar/files/kernel/absent-names.ts";

describe("AbsentNames", () => {
  it("has room again once names have been kept long enough", () => {
    const names = new AbsentNames({ keepMs: 1000 });
    for (let at = 0; at < 4096; at += 1) assert.equal(names.add(1, `name-${at}`, at), true);
    assert.equal(names.add(1, "one more", 999), false);
    assert.equal(names.add(1, "one more", 1500), false);
    assert.equal(names.add(1, "one more", 3500), true);
    assert.equal(names.all().length, 4096 - 2501 + 1);
    assert.deepEqual(names.all().at(-1)?.name, "one more");
  });
});
