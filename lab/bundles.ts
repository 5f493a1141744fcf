import { cp, mkdir, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { build } from "esbuild";

/** File in the image → where its code begins. One bundle for each process, and for each thread that the sidecar starts. */
const entries = {
  "webhook.mjs": "webhook/main.ts",
  "controller.mjs": "controller/main.ts",
  "sidecar-engine.mjs": "agent/network/engine/worker.ts",
  "sidecar-files.mjs": "sidecar/files/kernel/serving-thread.ts",
} as const;

/** In parts: what a process imports late stays on disk until then, and what its other commands do not need is not read. */
const inParts = { sidecar: "sidecar/main.ts", daemon: "daemon/main.ts" } as const;

/** A package with machine code: copied beside the bundles, without its documentation and C++ sources. */
const NATIVE = "koffi";

/** Of fuse-native only its machine code and libfuse are used, which there are for x86_64 alone; sidecar/files/libfuse/fuse-native.ts loads them. */
const LIBFUSE = ["node.napi.node", "libfuse.so"].map((file) => `fuse-native/prebuilds/linux-x64/${file}`);

/** gRPC asks for it only where its own channelz or ORCA services are served, which we do not. */
const UNUSED = "@grpc/proto-loader";

/** CommonJS packages inside an ES module bundle still use what Node gives to CommonJS. */
const BANNER = `import { createRequire as __createRequire } from "node:module";
const require = __createRequire(import.meta.url), __dirname = import.meta.dirname, __filename = import.meta.filename;`;

/** Writes the bundles and what they need beside them to `folder`, replacing what was there; `more` has entries beside those of the image. */
export async function writeBundles(folder: string, more: Readonly<Record<string, string>> = {}): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  await bundle(folder, { ...entries, ...more });
  for (const [name, entry] of Object.entries(inParts)) await bundle(folder, { [`${name}.mjs`]: entry }, { partsOf: name });
  await copyPackages(root, join(folder, "node_modules"), [
    NATIVE,
    `@koromix/koffi-linux-${process.arch}`,
    "fuse-native/package.json",
    ...(process.arch === "x64" ? LIBFUSE : []),
  ]);
}

const root = join(import.meta.dirname, "..");

async function bundle(
  folder: string,
  files: Readonly<Record<string, string>>,
  { partsOf }: { readonly partsOf?: string } = {},
): Promise<void> {
  await build({
    absWorkingDir: root,
    entryPoints: Object.entries(files).map(([file, entry]) => ({ in: entry, out: file.replace(/\.mjs$/, "") })),
    splitting: partsOf !== undefined,
    chunkNames: `${partsOf ?? "part"}-[hash]`,
    outdir: folder,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    platform: "node",
    target: "node24",
    format: "esm",
    // Names stay: they are all that a stack trace from a user's cluster tells.
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: "none",
    banner: { js: BANNER },
    external: [NATIVE, UNUSED],
    logLevel: "warning",
  });
}

async function copyPackages(root: string, modules: string, parts: readonly string[]): Promise<void> {
  for (const part of parts) {
    await mkdir(dirname(join(modules, part)), { recursive: true });
    await cp(join(root, "node_modules", part), join(modules, part), { recursive: true, filter: isOfUse });
  }
}

async function isOfUse(path: string): Promise<boolean> {
  return (await stat(path)).isDirectory() ? !path.endsWith("/vendor") : /\.(c?js|node|so|json)$|\/LICENSE[^/]*$/.test(path);
}
