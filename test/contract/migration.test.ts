import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { findNotYet, notYetActions, notYetKinds } from "../../api/kinds/not-yet.ts";
import { fileNameOf } from "../../api/kinds/registry.ts";

const docs = join(import.meta.dirname, "..", "..", "docs");
const page = readFileSync(join(docs, "migration.md"), "utf8");

describe("docs/migration.md", () => {
  const section = page.split(/^## /m).find((text) => text.startsWith("What answers NotYetSupported\n")) ?? "";
  const rows = [...section.matchAll(/^\| (.+?) \| (.+?) \|$/gm)].map(([, first = "", second = ""]) => ({
    kinds: [...first.matchAll(/\[(\w+)\]/g)].map(([, kind = ""]) => kind),
    what: second,
    words: [...second.matchAll(/`([^`]+)`/g)].map(([, word = ""]) => word),
  }));

  it("names the kinds that cannot be carried out yet, and no others", () => {
    const named = rows.filter(({ what }) => what === "all of it").flatMap(({ kinds }) => kinds);
    assert.deepEqual(named.toSorted(), notYetKinds.toSorted());
  });

  it("names the actions that cannot be carried out yet, and no others", () => {
    const named = rows
      .filter(({ what, kinds }) => what !== "all of it" && kinds.length > 0)
      .flatMap(({ kinds, words }) => kinds.map((kind) => [kind, words] as const));
    assert.deepEqual(Object.fromEntries(named), notYetActions);
  });

  it("names what cannot be carried out in any kind", () => {
    const paths = findNotYet("NetworkChaos", { remoteCluster: "west" }).map(({ path }) => path);
    assert.deepEqual(
      rows.filter(({ kinds, words }) => kinds.length === 0 && words.length > 0).flatMap(({ words }) => words),
      paths,
    );
  });

  it("leads to pages that exist, and from the name of a kind to its own", () => {
    for (const [link, name = "", path = "", anchor] of page.matchAll(/\[([^\]]+)\]\(([^)#]*)(#[^)]*)?\)/g)) {
      assert.ok(path === "" ? anchor !== undefined : existsSync(join(docs, path)), link);
      const kind = notYetKinds.find((one) => one === name);
      if (kind !== undefined) assert.equal(path, `kinds/${fileNameOf(kind)}.md`, link);
    }
  });
});
