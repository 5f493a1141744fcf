import { cp, mkdir, readFile, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { build, type Plugin } from "esbuild";

/** File in the image → where its code begins. One bundle for each process, and one for the thread that the sidecar starts. */
const entries = {
  "webhook.mjs": "webhook/main.ts",
  "controller.mjs": "controller/main.ts",
  "sidecar.mjs": "sidecar/main.ts",
  "sidecar-engine.mjs": "agent/network/engine/worker.ts",
} as const;

/** A package with machine code: copied beside the bundles, without its documentation and C++ sources. */
const NATIVE = "koffi";

/** Folders of `.proto` files that bundled packages read when they start. */
const PROTO_FOLDERS = ["grpc-health-check/proto", "@grpc/reflection/build/proto/grpc", "@grpc/grpc-js/proto"] as const;

/** CommonJS packages inside an ES module bundle still use what Node gives to CommonJS. */
const BANNER = `import { createRequire as __createRequire } from "node:module";
const require = __createRequire(import.meta.url), __bundleFolder = import.meta.dirname, __dirname = __bundleFolder, __filename = import.meta.filename;`;

/** Has gRPC's packages look for their `.proto` files in the node_modules beside the bundle, as if they still lay there themselves. */
const findProtoFiles: Plugin = {
  name: "find-proto-files",
  setup(bundling) {
    bundling.onLoad(
      { filter: /\/node_modules\/(@grpc\/(grpc-js|reflection)|grpc-health-check)\/build\/src\/.*\.js$/ },
      async ({ path }) => {
        const place = JSON.stringify(dirname(path.slice(path.lastIndexOf("/node_modules/"))));
        const source = await readFile(path, "utf8");
        return { contents: source.replaceAll(/\b__dirname\b/g, `(__bundleFolder + ${place})`), loader: "js" };
      },
    );
  },
};

/** Writes the bundles and what they need beside them to `folder`, replacing what was there; `more` has entries beside those of the image. */
export async function writeBundles(folder: string, more: Readonly<Record<string, string>> = {}): Promise<void> {
  const root = join(import.meta.dirname, "..");
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  await build({
    absWorkingDir: root,
    entryPoints: Object.entries({ ...entries, ...more }).map(([file, entry]) => ({ in: entry, out: file.replace(/\.mjs$/, "") })),
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
    plugins: [findProtoFiles],
    logLevel: "warning",
  });
  await copyPackages(root, join(folder, "node_modules"), [NATIVE, `@koromix/koffi-linux-${process.arch}`, ...PROTO_FOLDERS]);
}

async function copyPackages(root: string, modules: string, parts: readonly string[]): Promise<void> {
  for (const part of parts) {
    await mkdir(dirname(join(modules, part)), { recursive: true });
    await cp(join(root, "node_modules", part), join(modules, part), { recursive: true, filter: isOfUse });
  }
}

async function isOfUse(path: string): Promise<boolean> {
  return (await stat(path)).isDirectory() ? !path.endsWith("/vendor") : /\.(c?js|node|json|proto)$|\/LICENSE[^/]*$/.test(path);
}
