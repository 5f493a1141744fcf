import { Command } from "commander";
import { ensureBinaries } from "./binaries.ts";
import { bringClusterUp, type ClusterState, readClusterState, takeClusterDown } from "./cluster.ts";
import { ensurePackages, imagePackages, nodePackages } from "./packages.ts";
import { placesOf } from "./places.ts";
import { nodePrograms } from "./programs.ts";
import { createProgress, elapsed } from "./progress.ts";
import { assertNever } from "../common/assert-never.ts";

const places = placesOf(process.env);
const progress = createProgress(process.stderr);
const isRoot = process.getuid?.() === 0;
const say = (line: string): void => void process.stdout.write(`${line}\n`);

const program = new Command("npm run lab --")
  .description("A throw-away Kubernetes cluster of one node on this machine. Needs root and Debian packages, which it installs.")
  .showHelpAfterError()
  .addHelpText("after", `\nPrograms are kept in ${places.cache}, the running cluster in ${places.state}.`);

program
  .command("up")
  .description("start the cluster; does nothing when it runs, and replaces one that is broken")
  .action(async () => {
    requireRoot("up");
    const before = await readClusterState(places);
    const cluster = before.is === "running" ? before.cluster : await up();
    say(before.is === "running" ? `The cluster runs since ${cluster.since.toISOString()}.` : "The cluster is ready.");
    say(`Use it with: export KUBECONFIG=${cluster.kubeconfig}`);
  });

program
  .command("down")
  .description("stop the cluster and remove everything of it; packages, programs and images stay")
  .action(async () => {
    requireRoot("down");
    say((await takeClusterDown(places, progress)) ? "The cluster is gone." : "There is no cluster.");
  });

program
  .command("status")
  .description("say whether the cluster runs; exit code 0 when it does, 1 when it is broken, 3 when there is none")
  .action(async () => {
    const state = await readClusterState(places);
    say(describe(state));
    process.exitCode = { running: 0, broken: 1, down: 3 }[state.is];
  });

async function up(): Promise<Extract<ClusterState, { is: "running" }>["cluster"]> {
  await ensurePackages([...nodePackages, ...imagePackages], { isRoot, progress });
  const sources = { cache: places.cache, kubebuilderAssets: process.env["KUBEBUILDER_ASSETS"] };
  return await bringClusterUp(places, await ensureBinaries(nodePrograms, sources, progress), progress);
}

function requireRoot(command: string): void {
  if (!isRoot) throw new Error(`The lab makes network namespaces and mounts, which takes root. Run: sudo npm run lab -- ${command}`);
}

function describe(state: ClusterState): string {
  switch (state.is) {
    case "running": {
      const { since, kubeconfig, auditLog, logs, processes } = state.cluster;
      const list = processes.map(({ program, pid }) => `  ${String(pid).padStart(8)}  ${program}`);
      return [
        `The cluster runs for ${elapsed(Date.now() - since.getTime())}.`,
        `  kubeconfig ${kubeconfig}`,
        `  audit log  ${auditLog}`,
        `  logs       ${logs}`,
        ...list,
      ].join("\n");
    }
    case "broken":
      return `The cluster is broken: ${state.why}. "npm run lab -- up" replaces it, "npm run lab -- down" removes it.`;
    case "down":
      return "There is no cluster. Start one with: npm run lab -- up";
    default:
      return assertNever(state);
  }
}

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
