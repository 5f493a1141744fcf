import assert from "node:assert/strict";
import { canMatchBelow, globOrEmpty } from "../../../api/blocks/file-path.ts";

describe("globOrEmpty", () => {
  const isRead = (glob: string): boolean => globOrEmpty().safeParse(glob).success;
  for (const glob of [
    "",
    "/data",
    "/data/**",
    "/data/**/*",
    "**",
    "**/*.log",
    "/data/[a-z]*",
    "/data/[!]]x",
    "/data/[]]",
    "/data/[[]",
    "/a b/?",
  ])
    it(`reads ${JSON.stringify(glob)}`, () => assert.ok(isRead(glob)));
  for (const glob of [
    "data",
    "*",
    "*.log",
    "?data",
    "/data/",
    "/data/**x",
    "/data/x**",
    "/data/***",
    "/data/[",
    "/data/[]",
    "/data/[!]",
    "/data/\n",
    "/[a-",
  ])
    it(`refuses ${JSON.stringify(glob)}`, () => assert.ok(!isRead(glob)));

  it("takes no time over hostile texts", () => {
    const started = performance.now();
    for (const part of ["[", "[!", "*", "**", "/**", "a[", "[]"]) globOrEmpty().safeParse(`/${part.repeat(4000)}`.slice(0, 4096));
    assert.ok(performance.now() - started < 1000);
  });
});

describe("canMatchBelow", () => {
  const rows: readonly (readonly [glob: string, folder: string, can: boolean])[] = [
    ["/data/**", "/data", true],
    ["/data/**", "/data/", true],
    ["/data", "/data", true],
    ["/data/log/x", "/data", true],
    ["/d*/log", "/data", true],
    ["**/x", "/data", true],
    ["/data", "/data/log", false],
    ["/database/**", "/data", false],
    ["/log/**", "/data", false],
    ["/**", "/", true],
  ];
  for (const [glob, folder, can] of rows)
    it(`says that ${glob} can${can ? "" : "not"} match below ${folder}`, () => assert.equal(canMatchBelow(glob, folder), can));
});
