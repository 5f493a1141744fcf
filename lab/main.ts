import { Command } from "commander";
import { ensureBinaries } from "./binaries.ts";
import {
  bringClusterUp,
  type ClusterShape,
  describeCluster,
  plainShape,
  planJoining,
  type RunningCluster,
  readClusterState,
  takeClusterDown,
} from "./cluster.ts";
import { playDemo } from "./demo/demo.ts";
import { findMistakes } from "./demo/foreign-cluster.ts";
import { buildImages } from "./images.ts";
import { importArchive, loadBuiltImages } from "./load-images.ts";
import { ensurePackages, imagePackages, nodePackages } from "./packages.ts";
import { placesOf } from "./places.ts";
import { nodePrograms } from "./programs.ts";
import { createProgress } from "./progress.ts";
import { umlNodePackages } from "./uml-kernel.ts";

const places = placesOf(process.env);
const progress = createProgress(process.stderr);
const isRoot = process.getuid?.() === 0;
const say = (line: string): void => void process.stdout.write(`${line}\n`);

const program = new Command("npm run lab --")
  .description("A throw-away Kubernetes cluster on this machine. Needs root and Debian packages, which it installs.")
  .showHelpAfterError()
  .addHelpText("after", `\nPrograms and images are kept in ${places.cache}, the running cluster in ${places.state}.`);

program
  .command("up")
  .description("start the cluster; does nothing when it runs, and replaces one that is broken")
  .option(
    "--with-uml",
    "with a second node on a kernel of its own (User-Mode Linux: netem, cgroup v2, iptables-legacy); a running cluster gets it added",
  )
  .option("--dual-stack", "with IPv6 addresses beside IPv4 for nodes, pods and Services")
  .action(async ({ withUml = false, dualStack = false }: { readonly withUml?: boolean; readonly dualStack?: boolean }) => {
    const shape: ClusterShape = { hasUml: withUml, ipFamilies: dualStack ? "dual" : "ipv4" };
    const before = await readClusterState(places);
    const isThere = before.is === "running" && planJoining(before.cluster, shape) === "nothing";
    const cluster = isThere ? before.cluster : await up("up", shape);
    say(isThere ? `The cluster has been running since ${cluster.since.toISOString()}.` : "The cluster is ready.");
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
    say(describeCluster(state));
    process.exitCode = { running: 0, broken: 1, down: 3 }[state.is];
  });

program
  .command("load-image")
  .description("build Squall's image and the demo shop's from this working tree and load them into the running cluster")
  .argument("[archive]", "load this file instead, as written by `docker save`")
  .action(async (archive?: string) => {
    requireRoot("load-image");
    const cluster = await requireCluster();
    if (archive !== undefined) say((await importArchive(archive, cluster)).trim());
    else say(`Loaded ${Object.values(await loadOwnImages(cluster)).join(" and ")}.`);
  });

program
  .command("kubeconfig")
  .description("print the path of the running cluster's kubeconfig, for KUBECONFIG or --kubeconfig")
  .action(async () => say((await requireCluster()).kubeconfig));

program
  .command("demo")
  .description("install Squall and a small shop, and show faults that come and go (npm start)")
  .option("--context <name>", "use the cluster of this kubectl context instead of the lab")
  .option("--image <name>", "with --context: Squall's image, where the cluster can pull it")
  .option("--shop-image <name>", "with --context: the shop's image, where the cluster can pull it")
  .action(async ({ context, image, shopImage }: { readonly context?: string; readonly image?: string; readonly shopImage?: string }) => {
    if (context === undefined && (image !== undefined || shopImage !== undefined))
      throw new Error(
        "--image and --shop-image are for a cluster of yours: name its kubectl context with --context. The lab builds its own.",
      );
    const didHold = context === undefined ? await playInLab() : await playIn(context, { squall: image, shop: shopImage });
    process.exitCode = didHold ? 0 : 1;
  });

async function playInLab(): Promise<boolean> {
  const cluster = await up("demo");
  const images = await loadOwnImages(cluster);
  return await playDemo({
    access: { program: cluster.kubectl, parameters: [`--kubeconfig=${cluster.kubeconfig}`] },
    images,
    progress,
    output: process.stdout,
    hints: [`export KUBECONFIG=${cluster.kubeconfig}`, "kubectl get pods -n shop", "kubectl explain networkchaos.spec", "npm stop"],
  });
}

async function playIn(
  context: string,
  images: { readonly squall: string | undefined; readonly shop: string | undefined },
): Promise<boolean> {
  const access = { program: "kubectl", parameters: [`--context=${context}`] };
  const mistakes = await findMistakes(context, images, access);
  if (mistakes.length > 0) throw new Error(mistakes.join("\n\n"));
  return await playDemo({
    access,
    images,
    progress,
    output: process.stdout,
    hints: [
      `kubectl --context=${context} get pods -n shop`,
      `kubectl --context=${context} delete namespace shop`,
      `kubectl --context=${context} delete -k manifests/ && kubectl --context=${context} delete namespace squall-system`,
    ],
  });
}

async function up(command: string, shape: ClusterShape = plainShape): Promise<RunningCluster> {
  requireRoot(command);
  await ensurePackages([...nodePackages, ...imagePackages, ...(shape.hasUml ? umlNodePackages : [])], { isRoot, progress });
  const sources = { cache: places.cache, kubebuilderAssets: process.env["KUBEBUILDER_ASSETS"] };
  return await bringClusterUp(places, await ensureBinaries(nodePrograms, sources, progress), progress, shape);
}

async function loadOwnImages(cluster: RunningCluster): Promise<Awaited<ReturnType<typeof buildImages>>> {
  const images = await buildImages(places.cache, progress);
  await progress.during("Loading the images into the cluster", () => loadBuiltImages(places.cache, Object.values(images), cluster));
  return images;
}

async function requireCluster(): Promise<RunningCluster> {
  const state = await readClusterState(places);
  if (state.is === "running") return state.cluster;
  throw new Error(describeCluster(state));
}

function requireRoot(command: string): void {
  if (!isRoot) throw new Error(`The lab makes network namespaces and mounts, which takes root. Run: sudo npm run lab -- ${command}`);
}

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
