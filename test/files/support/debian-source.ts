import { cpSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { run } from "../../../lab/run.ts";

/**
 * Gets files of a Debian source package, as upstream published them, through apt, and puts them into `folder` under their own paths. Machines rarely
 * know where sources are: it is where their binary packages are. Leaves apt's own lists alone.
 */
export async function fetchDebianSource(name: string, files: readonly string[], folder: string): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), "squall-source-"));
  try {
    writeFileSync(join(work, "sources.list"), readSourceEntries().join("\n"));
    mkdirSync(join(work, "lists/partial"), { recursive: true });
    const apt = [
      "apt-get",
      ...["SourceParts=/dev/null", `SourceList=${work}/sources.list`].flatMap((setting) => ["-o", `Dir::Etc::${setting}`]),
      ...["-o", `Dir::State::Lists=${work}/lists`],
    ];
    await run([...apt, "update"], { cwd: work });
    await run([...apt, "source", "--download-only", "--only-source", name], { cwd: work });
    const archive = globSync("*.orig.tar.*", { cwd: work }).find((path) => !path.endsWith(".asc"));
    if (archive === undefined) throw new Error(`apt-get source ${name} brought no archive of upstream's files.`);
    const patterns = files.map((path) => `*/${path}`);
    await run(["tar", "--extract", "--file", archive, "--strip-components=1", "--wildcards", ...patterns], { cwd: work });
    for (const path of files) {
      mkdirSync(join(folder, dirname(path)), { recursive: true });
      cpSync(join(work, path), join(folder, path), { recursive: true });
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Entries for sources made from those for binaries, of the one-line format and of deb822's; see sources.list(5). */
function readSourceEntries(): readonly string[] {
  const oneLine = globSync("/etc/apt/{sources.list,sources.list.d/*.list}").flatMap((path) => readFileSync(path, "utf8").split("\n"));
  const stanzas = globSync("/etc/apt/sources.list.d/*.sources").flatMap((path) => readFileSync(path, "utf8").split(/\n\s*\n/));
  return [...oneLine.filter((line) => /^deb\s/.test(line)).map((line) => line.replace(/^deb/, "deb-src")), ...stanzas.flatMap(entriesOf)];
}

function entriesOf(stanza: string): readonly string[] {
  const fields = new Map(
    stanza
      .split("\n")
      .filter((line) => !line.startsWith("#"))
      .map((line) => /^(\S+):\s*(.*)$/.exec(line))
      .map((match) => [match?.[1] ?? "", match?.[2] ?? ""]),
  );
  const words = (name: string): readonly string[] => (fields.get(name) ?? "").split(/\s+/).filter((word) => word !== "");
  if (!words("Types").includes("deb")) return [];
  const key = words("Signed-By").join("");
  const options = key === "" ? "" : `[signed-by=${key}] `;
  return words("URIs").flatMap((uri) =>
    words("Suites").map((suite) => `deb-src ${options}${uri} ${suite} ${words("Components").join(" ")}`),
  );
}
