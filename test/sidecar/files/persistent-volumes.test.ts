import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { namelessOf, readPersistentVolumes, writePersistentVolumes } from "../../../sidecar/files/persistent-volumes.ts";

describe("names of persistent volumes", () => {
  let folder: string;
  let path: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "squall-names-"));
    path = join(folder, "names.json");
  });
  afterEach(() => rm(folder, { recursive: true }));

  it("are needed for claims beside others only", () =>
    assert.deepEqual(
      namelessOf([
        { name: "cache", source: "emptyDir" },
        { name: "alone", source: "claim" },
        { name: "data", source: "claim", isOneOfSeveral: true },
      ]),
      ["data"],
    ));

  it("are remembered, also those that nobody knew", async () => {
    const told = new Map([
      ["data", "pv-1"],
      ["constructor", undefined],
    ]);
    await writePersistentVolumes(new Map([["data", "pv-0"]]), path);
    await writePersistentVolumes(told, path);
    assert.deepEqual(await readPersistentVolumes(["data", "constructor"], path), told);
    assert.deepEqual(await readdir(folder), ["names.json"]);
  });

  it("are asked for again where one was never told, or the file is none", async () => {
    assert.equal(await readPersistentVolumes(["data"], path), undefined);
    await writePersistentVolumes(new Map([["data", "pv-1"]]), path);
    assert.equal(await readPersistentVolumes(["data", "constructor"], path), undefined);
    for (const text of ["", '{"data":', '{"data":1}', "[]"]) {
      await writeFile(path, text);
      assert.equal(await readPersistentVolumes(["data"], path), undefined, text);
    }
  });
});
