import assert from "node:assert/strict";
import { KeptData } from "../../../sidecar/files/kernel/kept-data.ts";

const FILE = 7;
const at = (mtime: number, mtimeNs = 0): { readonly mtime: number; readonly mtimeNs: number } => ({ mtime, mtimeNs });

describe("KeptData", () => {
  it("trusts data of a file that is opened again as it was", () => {
    const kept = new KeptData();
    assert.equal(kept.open(FILE, at(1, 5)), false);
    assert.equal(kept.open(FILE, at(1, 5)), true);
  });

  it("distrusts data of a file that somebody else has changed", () => {
    const kept = new KeptData();
    kept.open(FILE, at(1, 5));
    assert.equal(kept.open(FILE, at(1, 6)), false);
    assert.equal(kept.open(FILE, at(1, 6)), true);
  });

  it("takes changes after its own for its own, until the file is opened again", () => {
    const kept = new KeptData();
    kept.open(FILE, at(1));
    kept.write(FILE);
    assert.equal(kept.open(FILE, at(2)), true);
    assert.equal(kept.open(FILE, at(3)), false);
  });

  it("knows whether a file is open, and nothing of one that is forgotten", () => {
    const kept = new KeptData();
    kept.open(FILE, at(1));
    assert.equal(kept.isOpen(FILE), true);
    kept.close(FILE);
    assert.equal(kept.isOpen(FILE), false);
    kept.forget(FILE);
    assert.equal(kept.open(FILE, at(1)), false);
  });
});
