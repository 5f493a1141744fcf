import { cachedPath, ensureBinaries } from "../../../lab/binaries.ts";
import {
  bringClusterUp,
  type ClusterShape,
  plainShape,
  type RunningCluster,
  readClusterState,
  takeClusterDown,
} from "../../../lab/cluster.ts";
import { createKubectl as createDemoKubectl } from "../../../lab/demo/kubectl.ts";
import { installSquall } from "../../../lab/demo/install.ts";
import { buildImages } from "../../../lab/images.ts";
import { loadBuiltImages } from "../../../lab/load-images.ts";
import { ensurePackages, imagePackages, nodePackages } from "../../../lab/packages.ts";
import { placesOf } from "../../../lab/places.ts";
import { nodePrograms } from "../../../lab/programs.ts";
import { createProgress } from "../../../lab/progress.ts";
import { umlNodePackages } from "../../../lab/uml-kernel.ts";
import { waitUntil } from "../../../lab/wait-until.ts";
import { createKubectl, type Kubectl } from "./kubectl.ts";
import { podProcesses, signalAll } from "./node-processes.ts";

/** The cluster of all stories: the lab, with Squall of this working tree installed. */
export interface StoryCluster {
  readonly kubectl: Kubectl;
  readonly kubeconfig: string;
  /** Image that runs the peer program. */
  readonly peerImage: string;
  readonly auditLog: string;
  /** Process id of kube-apiserver, as this machine counts. */
  readonly apiServerPid: () => number;
  /** How many reviews the webhook has answered on this path, over all replicas. */
  readonly webhookReviews: (path: string) => Promise<number>;
  /** Has the webhook and the image holder use another image for sidecars; undefined puts the installed one back. */
  readonly setSidecarImage: (image: string | undefined) => Promise<void>;
}

const places = placesOf(process.env);
const progress = createProgress(process.stderr);
let running: Promise<Prepared> | undefined;

interface Prepared {
  readonly story: StoryCluster;
  readonly wasUp: boolean;
  readonly install: () => Promise<void>;
}

/** Brings the cluster up with the first call, of which the shape counts; every later call gets the same one. */
export async function storyCluster(shape: ClusterShape = plainShape): Promise<StoryCluster> {
  running ??= prepare(shape);
  return (await running).story;
}

/** Takes down what storyCluster brought up; a cluster that somebody had running before stays. */
export async function endStoryCluster(): Promise<void> {
  const prepared = await running?.catch(() => undefined);
  if (prepared && !prepared.wasUp) await takeClusterDown(places, progress);
}

/** Installs Squall once more, after a story that removed it; changes nothing where it is. */
export async function installedAgain(): Promise<void> {
  await (await running)?.install();
}

async function prepare(shape: ClusterShape): Promise<Prepared> {
  const wasUp = (await readClusterState(places)).is === "running";
  const packages = [...nodePackages, ...imagePackages, ...(shape.hasUml ? umlNodePackages : [])];
  await ensurePackages(packages, { isRoot: process.getuid?.() === 0, progress });
  const binaries = await ensureBinaries(
    nodePrograms,
    { cache: places.cache, kubebuilderAssets: process.env["KUBEBUILDER_ASSETS"] },
    progress,
  );
  const cluster = await bringClusterUp(places, binaries, progress, shape);
  const images = await buildImages(places.cache, progress);
  await progress.during("Loading the images into the cluster", () => loadBuiltImages(places.cache, Object.values(images), cluster));
  const program = cachedPath(places.cache, "kubectl");
  const access = { program, parameters: [`--kubeconfig=${cluster.kubeconfig}`] };
  const install = (): Promise<void> => installSquall(createDemoKubectl(access), images, progress);
  await install();
  return { story: tellStories(cluster, createKubectl({ program, kubeconfig: cluster.kubeconfig }), images), wasUp, install };
}

function tellStories(cluster: RunningCluster, kubectl: Kubectl, images: { readonly squall: string; readonly shop: string }): StoryCluster {
  const system = ["-n", "squall-system"];
  return {
    kubectl,
    kubeconfig: cluster.kubeconfig,
    peerImage: images.shop,
    auditLog: cluster.auditLog,
    apiServerPid() {
      const found = cluster.processes.find(({ program }) => program === "kube-apiserver");
      if (!found) throw new Error("kube-apiserver does not run.");
      return found.pid;
    },
    async webhookReviews(path) {
      const names = (
        await kubectl(["get", "pods", ...system, "-l", "app=squall-webhook", "-o", "jsonpath={.items[*].metadata.name}"])
      ).split(" ");
      const counts = await Promise.all(
        names.map(async (name) => {
          const metrics = await kubectl(["get", "--raw", `/api/v1/namespaces/squall-system/pods/${name}:9090/proxy/metrics`]);
          return metrics
            .split("\n")
            .filter((line) => line.startsWith("squall_webhook_reviews_total{") && line.includes(`path="${path}"`))
            .reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
        }),
      );
      return counts.reduce((sum, count) => sum + count, 0);
    },
    async setSidecarImage(image) {
      const wanted = image ?? images.squall;
      await kubectl(["set", "image", "daemonset/squall-image", `squall-image=${wanted}`, ...system]);
      await kubectl(["set", "env", "deployment/squall-webhook", `SQUALL_SIDECAR_IMAGE=${wanted}`, ...system]);
      await kubectl(["rollout", "status", "deployment/squall-webhook", ...system, "--timeout=60s"], { timeoutMs: 70_000 });
      if (image === undefined)
        await kubectl(["rollout", "status", "daemonset/squall-image", ...system, "--timeout=60s"], { timeoutMs: 70_000 });
    },
  };
}

/** Keeps so many of them running; with 0, kills those that there are and waits until none is left. */
export async function scaleTo(replicas: number, part: "controller" | "webhook"): Promise<void> {
  const { kubectl } = await storyCluster();
  const deployment = [`deployment/squall-${part}`, "-n", "squall-system"];
  const processes = replicas === 0 ? await processesOf(part) : [];
  await kubectl(["scale", ...deployment, `--replicas=${replicas}`]);
  if (replicas > 0) {
    await kubectl(["rollout", "status", ...deployment, "--timeout=60s"], { timeoutMs: 70_000 });
    if (part === "controller") await waitUntil("a controller that runs leads", isLed, { timeoutMs: 25_000 });
    return;
  }
  const pods = podsOf(part);
  await kubectl(["delete", ...pods, "--force", "--grace-period=0"]);
  // A pod that is gone from the API server goes on until its kubelet has ended it, and is called over connections of before.
  signalAll(processes, "SIGKILL");
  const isNoneLeft = async (): Promise<boolean | string> => {
    const names = (await kubectl(["get", ...pods, "-o", "name"])).trim();
    return names === "" || names;
  };
  await waitUntil(`no ${part} runs`, isNoneLeft, { timeoutMs: 20_000 });
}

const podsOf = (part: "controller" | "webhook"): readonly string[] => ["pods", "-n", "squall-system", "-l", `app=squall-${part}`];

/** One that was killed is thought to lead for 15 s more. */
async function isLed(): Promise<boolean | string> {
  const { kubectl } = await storyCluster();
  const lease = ["get", "lease", "squall-controller", "-n", "squall-system"];
  const holder = await kubectl([...lease, "-o", "jsonpath={.spec.holderIdentity}"]);
  const names = await kubectl(["get", ...podsOf("controller"), "-o", "jsonpath={.items[*].metadata.name}"]);
  return names.split(" ").some((name) => name !== "" && holder.startsWith(`${name}_`)) || `${holder} holds the lease, there are ${names}`;
}

/** PIDs, as this machine counts them. */
export async function processesOf(part: "controller" | "webhook"): Promise<readonly number[]> {
  const { kubectl } = await storyCluster();
  const uids = await kubectl(["get", ...podsOf(part), "-o", "jsonpath={.items[*].metadata.uid}"]);
  return uids
    .split(" ")
    .filter((uid) => uid !== "")
    .flatMap((uid) => podProcesses(uid, `/${part}.mjs`));
}

/** Mocha's: the cluster is there before the first story, as bringing it up takes longer than any test may. */
export async function mochaGlobalSetup(): Promise<void> {
  await storyCluster();
}

export async function mochaGlobalTeardown(): Promise<void> {
  await endStoryCluster();
}
