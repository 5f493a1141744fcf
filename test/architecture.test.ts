import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

/** The rooms and their rows; CONTRIBUTING.md has the same table in words. */
const rows: Readonly<Record<string, number>> = {
  common: 1,
  api: 2,
  kube: 3,
  proto: 3,
  certs: 3,
  agent: 4,
  webhook: 5,
  controller: 5,
  sidecar: 5,
  daemon: 5,
  dashboard: 5,
  cli: 5,
  lab: 5,
  test: 6,
  bench: 6,
  examples: 6,
};

/** Which rooms of rows 3 and 4 a room may use. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  agent: ["proto", "certs"],
  webhook: ["kube", "certs"],
  controller: ["kube", "proto", "certs"],
  sidecar: ["agent", "proto", "certs"],
  daemon: ["agent", "proto", "certs"],
  dashboard: ["kube"],
  cli: ["kube"],
  lab: ["kube", "certs"],
};

/** Where room `from` breaks the table by importing from room `to`; undefined where it does not. */
function complaint(from: string, to: string): string | undefined {
  const own = rows[from];
  const other = rows[to];
  if (own === undefined || other === undefined || from === to || own === 6) return undefined;
  if (other > own) return "Rooms import from lower rows only.";
  if (other === own)
    return own === 5
      ? "Processes talk through proto/; move what both need to api/ or common/."
      : "Rooms of one row never import one another.";
  if (other >= 3 && !(allowed[from] ?? []).includes(to))
    return `${from}/ may use of rows 3 and 4: ${(allowed[from] ?? []).join(", ") || "nothing"}.`;
  return undefined;
}

const root = join(import.meta.dirname, "..");
const files = globSync("{common,api,kube,proto,certs,agent,webhook,controller,sidecar,daemon,dashboard,cli,lab}/**/*.ts", {
  cwd: root,
  exclude: (path) => path.includes("node_modules"),
});
const importsOf = (file: string): readonly string[] =>
  [...readFileSync(join(root, file), "utf8").matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)].map((match) => match[1] ?? "");
const roomOf = (path: string): string => path.split("/")[0] ?? "";

describe("the rooms", () => {
  it("import from lower rows only, as CONTRIBUTING.md says", () => {
    const broken = files.flatMap((file) =>
      importsOf(file)
        .filter((specifier) => specifier.startsWith("."))
        .flatMap((specifier) => {
          const target = normalize(join(dirname(file), specifier));
          const why = complaint(roomOf(file), roomOf(target));
          return why === undefined ? [] : [`${file} imports ${target}. ${why}`];
        }),
    );
    assert.deepEqual(broken, []);
  });

  it("leave the Kubernetes client to kube/", () => {
    const users = files.filter((file) => importsOf(file).some((specifier) => specifier.startsWith("@kubernetes/client-node")));
    assert.deepEqual([...new Set(users.map(roomOf))], files.some((file) => file.startsWith("kube/client")) ? ["kube"] : []);
  });

  it("read the environment and exit in main.ts only", () => {
    const readers = files.filter(
      (file) =>
        !/(^|\/)(main|generate)\.ts$/.test(file) &&
        /process\.(env|exit)\b/.test(readFileSync(join(root, file), "utf8").replaceAll(/^\s*(\/\/|\*|\/\*).*$/gm, "")),
    );
    assert.deepEqual(readers, []);
  });

  it("call a complaint when a process imports another one, and none for a lower room", () => {
    assert.equal(complaint("controller", "daemon"), "Processes talk through proto/; move what both need to api/ or common/.");
    assert.equal(complaint("api", "kube"), "Rooms import from lower rows only.");
    assert.equal(complaint("webhook", "proto"), "webhook/ may use of rows 3 and 4: kube, certs.");
    assert.equal(complaint("controller", "certs"), undefined);
  });
});
