import assert from "node:assert/strict";
import { compileGlob } from "../../../sidecar/files/glob.ts";

describe("compileGlob", () => {
  const cases: readonly (readonly [glob: string, matched: readonly string[], not: readonly string[]])[] = [
    ["/data/f", ["/data/f"], ["/data/ff", "/data", "/data/f/g"]],
    ["/data/*", ["/data/f", "/data/.f"], ["/data", "/data/f/g"]],
    ["/data/**", ["/data/f", "/data/f/g", "/data/.git/x"], ["/data", "/database/f"]],
    ["/data/**/*.log", ["/data/a.log", "/data/x/y/a.log"], ["/data/a.txt", "/other/a.log"]],
    ["**/wal", ["/data/wal", "/wal"], ["/data/wal/x"]],
    ["/data/f?", ["/data/f1"], ["/data/f", "/data/f/", "/data/f12"]],
    ["/data/[a-c]x", ["/data/bx"], ["/data/dx", "/data//x"]],
    ["/data/[!a-c]x", ["/data/dx"], ["/data/ax"]],
    ["/data/[[]x", ["/data/[x"], ["/data/x"]],
    ["/data/[]]x", ["/data/]x"], ["/data/x"]],
    ["/data/a+(b).c", ["/data/a+(b).c"], ["/data/aab.c", "/data/a+(b)xc"]],
    ["/data/ü*", ["/data/über"], ["/data/uber"]],
  ];
  for (const [glob, matched, not] of cases) {
    it(`takes ${glob} as Chaos Mesh does`, () => {
      const matches = compileGlob(glob);
      for (const path of matched) assert.ok(matches(path), path);
      for (const path of not) assert.ok(!matches(path), path);
    });
  }
});
