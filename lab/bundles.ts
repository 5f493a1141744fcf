import { cp, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";

/** File in the image → where its code begins. One bundle for each process, and one for the thread that the sidecar starts. */
const entries = {
  "webhook.mjs": "webhook/main.ts",
  "controller.mjs": "controller/main.ts",
  "sidecar.mjs": "sidecar/main.ts",
  "sidecar-engine.mjs": "agent/network/engine/worker.ts",
} as const;

/** Packages with machine code: copied as they are, beside the bundles. */
const NATIVE = "koffi";

/** CommonJS packages inside an ES module bundle still call `require`. */
const BANNER = 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);';

/** Writes the bundles and what they need beside them to `folder`, replacing what was there. */
export async function writeBundles(folder: string): Promise<void> {
  const root = join(import.meta.dirname, "..");
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  await build({
    absWorkingDir: root,
    entryPoints: Object.entries(entries).map(([file, entry]) => ({ in: entry, out: file.replace(/\.mjs$/, "") })),
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
    external: [NATIVE],
    logLevel: "warning",
  });
  await copyNative(root, folder);
}

async function copyNative(root: string, folder: string): Promise<void> {
  const modules = join(folder, "node_modules");
  const copy = async (path: string): Promise<void> => {
    await mkdir(join(modules, path, ".."), { recursive: true });
    await cp(join(root, "node_modules", path), join(modules, path), { recursive: true });
  };
  // Its documentation and sources stay behind.
  for (const part of ["package.json", "index.cjs", "index.js", "indirect.cjs", "indirect.js", "lib", "LICENSE.txt"])
    await copy(join(NATIVE, part));
  await copy(`@koromix/koffi-linux-${process.arch}`);
}
