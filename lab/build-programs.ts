import { rename } from "node:fs/promises";
import { basename, join } from "node:path";
import { type ProgramName, programs, type Recipe } from "./programs.ts";
import type { Progress } from "./progress.ts";
import { findProgram, run } from "./run.ts";

const OLDEST_GO = [1, 24] as const;

type RecipeOf<H extends Recipe["how"]> = Extract<Recipe, { how: H }>;

/** Builds these into `folder`, calling `done` after each. Throws an Error that says what to install where a compiler is missing. */
export async function buildPrograms(
  names: readonly ProgramName[],
  folder: string,
  progress: Progress,
  done: (name: ProgramName) => Promise<void>,
): Promise<void> {
  if (names.length === 0) return;
  const go = await findGo();
  for (const name of names) {
    const { recipe, version } = programs[name];
    await progress.during(`Building ${name} ${version} from source, once`, async (note) => {
      const argv = compilerCall(recipe, go, join(folder, name), folder);
      await run(argv, { cwd: join(import.meta.dirname, recipe.how === "go-module" ? recipe.folder : "."), onLine: note });
      // `go install` chooses the file's name itself.
      if (recipe.how === "go-install") await rename(join(folder, installedName(recipe)), join(folder, name));
    });
    await done(name);
  }
}

/** The command line for one recipe. The same flags for all builds of one module: Go's own cache then has most of the next one. */
export function compilerCall(recipe: Recipe, go: string, output: string, folder: string): readonly string[] {
  switch (recipe.how) {
    case "go-module":
      return ["env", "CGO_ENABLED=0", go, "build", "-v", "-trimpath", "-ldflags", recipe.ldflags, "-o", output, recipe.package];
    case "go-install":
      return ["env", "CGO_ENABLED=0", `GOBIN=${folder}`, go, "install", "-v", "-trimpath", "-ldflags", recipe.ldflags, recipe.package];
  }
}

/** Whether `go version` is new enough to build everything. */
export function isGoNewEnough(versionLine: string): boolean {
  const match = /\bgo(\d+)\.(\d+)/.exec(versionLine);
  if (match === null) return false;
  const [major, minor] = [Number(match[1]), Number(match[2])];
  return major > OLDEST_GO[0] || (major === OLDEST_GO[0] && minor >= OLDEST_GO[1]);
}

async function findGo(): Promise<string> {
  const go = await findProgram("go", ["/usr/local/go/bin", "/usr/lib/go/bin", "/snap/bin"]);
  const version = go === undefined ? undefined : (await run([go, "version"])).trim();
  if (go !== undefined && version !== undefined && isGoNewEnough(version)) return go;
  const found = version === undefined ? "there is no Go on this machine" : `${go} is too old (${version})`;
  throw new Error(
    `The lab must build its Kubernetes programs, which takes Go ${OLDEST_GO.join(".")} or newer, but ${found}.\n` +
      "Install Go (https://go.dev/doc/install), or put kube-apiserver and etcd into a folder and name it in KUBEBUILDER_ASSETS.",
  );
}

function installedName(recipe: RecipeOf<"go-install">): string {
  return basename(recipe.package.replace(/@.*$/, ""));
}
