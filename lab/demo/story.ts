import { setTimeout as sleep } from "node:timers/promises";
import { describeFigures, describeReceipts, type Figures } from "./figures.ts";
import type { Kubectl } from "./kubectl.ts";
import type { Screen } from "./screen.ts";

/** What an act needs: the cluster, the screen, and what the shop's client sees meanwhile. */
export interface Stage {
  readonly kubectl: Kubectl;
  readonly screen: Screen;
  readonly figures: (fromMs: number, toMs: number) => Figures;
  readonly now: () => number;
}

/** One thing the story promised, and whether it was seen. */
export interface Claim {
  readonly text: string;
  readonly holds: boolean;
}

const LABEL = "client -> web";
const HOUR_MS = 3_600_000;
/** The time that the store puts into its answers. */
const ASK_THE_TIME = "fetch('http://store:8080/price').then((answer) => console.log(answer.headers.get('date')))";
/** The client is slow to notice: a request that began before a change ends after it. */
const SETTLE_MS = 1_500;

const slowStore = { action: "delay", mode: "all", selector: { labelSelectors: { app: "web" } }, delay: { latency: "200ms" } } as const;
const storeTarget = { target: { mode: "all", selector: { labelSelectors: { app: "store" } } } } as const;

function experiment(kind: "NetworkChaos" | "PodChaos", name: string, spec: object): string {
  return JSON.stringify({ apiVersion: "chaos-mesh.org/v1alpha1", kind, metadata: { name, namespace: "shop" }, spec });
}

/** Shows live figures for that long and returns those of the whole stretch, without its settling time. */
async function watch({ screen, figures, now }: Stage, forMs: number): Promise<Figures> {
  const from = now();
  while (now() - from < forMs) {
    await sleep(1_000);
    screen.live(LABEL, figures(now() - 1_000, now()));
  }
  return figures(from + Math.min(SETTLE_MS, forMs / 2), now());
}

/** Runs kubectl, after showing the command as a person would type it. */
async function type({ kubectl, screen }: Stage, parameters: readonly string[]): Promise<string> {
  screen.command(`kubectl ${parameters.join(" ")}`);
  return kubectl.run(parameters);
}

async function showReceipts(stage: Stage, resource: string): Promise<void> {
  const path = "{range .status.experiment.containerRecords[*]}{.id}{'  '}{.phase}{'  '}{.receipts}{'\\n'}{end}";
  stage.screen.output(describeReceipts(await stage.kubectl.run(["get", resource, "-n", "shop", "-o", `jsonpath=${path}`])));
}

/** Plays the whole story; each claim was measured while it played. */
export async function playStory(stage: Stage): Promise<readonly Claim[]> {
  const { screen, kubectl } = stage;
  const claims: Claim[] = [];
  const claim = (text: string, holds: boolean): void => {
    claims.push({ text, holds });
    screen.verdict(text, { holds });
  };
  const recovered = async (what: string, normalMs: number): Promise<void> => {
    const after = await watch(stage, 4_000);
    claim(
      `${what}: ${describeFigures(after)}`,
      after.answered > 0 && after.answered === after.requests && (after.medianMs ?? Infinity) < normalMs + 50,
    );
  };

  screen.chapter("The shop as it is");
  screen.say("A client buys five times a second from web, which asks store for the price.");
  const normal = await watch(stage, 5_000);
  const normalMs = normal.medianMs ?? Infinity;
  claim(`normal: ${describeFigures(normal)}`, normal.answered === normal.requests && normalMs < 100);

  screen.chapter("200 ms between web and store");
  await type(stage, ["apply", "-f", "examples/network-delay.yaml"]);
  await kubectl.run(["wait", "-n", "shop", "networkchaos/slow-store", "--for=condition=AllInjected", "--timeout=20s"]);
  const slow = await watch(stage, 6_000);
  claim(`delayed: ${describeFigures(slow)}`, Math.abs((slow.medianMs ?? 0) - normalMs - 200) < 40);

  screen.say("  Deleting the experiment takes the fault back:");
  await type(stage, ["delete", "networkchaos", "slow-store", "-n", "shop"]);
  await recovered("back to normal", normalMs);

  screen.chapter("A partition that ends by itself after 6 s");
  await type(stage, ["apply", "-f", "examples/network-partition.yaml"]);
  await kubectl.run(["wait", "-n", "shop", "networkchaos/cut-store", "--for=condition=AllInjected", "--timeout=20s"]);
  const cut = await watch(stage, 4_000);
  claim(`partitioned: ${describeFigures(cut)}`, cut.answered === 0);
  await kubectl.run(["wait", "-n", "shop", "networkchaos/cut-store", "--for=condition=AllRecovered", "--timeout=20s"]);
  screen.say("  Over, and its receipts stay in the status:");
  await showReceipts(stage, "networkchaos/cut-store");
  await recovered("back to normal", normalMs);
  await kubectl.run(["delete", "networkchaos", "cut-store", "-n", "shop"]);

  screen.chapter("A store pod is killed");
  const before = await podNames(stage);
  await type(stage, ["apply", "-f", "examples/pod-kill.yaml"]);
  await kubectl.run(["wait", "-n", "shop", "podchaos/kill-store", "--for=condition=AllInjected", "--timeout=20s"]);
  const during = await watch(stage, 5_000);
  const replaced = (await podNames(stage)).filter((name) => !before.includes(name));
  claim(`a new store pod took over (${replaced.join(", ")}): ${describeFigures(during)}`, replaced.length > 0 && during.answered > 0);
  await kubectl.run(["delete", "podchaos", "kill-store", "-n", "shop"]);

  screen.chapter("For the store it is yesterday");
  await type(stage, ["apply", "-f", "examples/time-yesterday.yaml"]);
  await kubectl.run(["wait", "-n", "shop", "timechaos/yesterday", "--for=condition=AllInjected", "--timeout=20s"]);
  const askedStore = async (): Promise<number> => {
    // Node's HTTP server writes down the time once a second and sends that.
    await sleep(SETTLE_MS);
    const shown = (await type(stage, ["exec", "-n", "shop", "deploy/web", "-c", "web", "--", "node", "-e", ASK_THE_TIME])).trim();
    screen.output(shown);
    return (Date.parse(shown) - stage.now()) / HOUR_MS;
  };
  const hoursOff = await askedStore();
  claim(`the store's clock is ${-Math.round(hoursOff)} h behind, and nothing was restarted`, Math.abs(hoursOff + 24) < 0.1);
  await type(stage, ["delete", "timechaos", "yesterday", "-n", "shop"]);
  claim("the store's clock is right again", Math.abs(await askedStore()) < 0.1);

  screen.chapter("A delay that ends on time although the controller was killed");
  const duration = 12;
  screen.command(`kubectl apply -f -   # as before, with "duration: ${duration}s"`);
  const appliedAt = stage.now();
  await kubectl.run(["apply", "-f", "-"], {
    stdin: experiment("NetworkChaos", "slow-orphan", { ...slowStore, ...storeTarget, duration: `${duration}s` }),
  });
  await kubectl.run(["wait", "-n", "shop", "networkchaos/slow-orphan", "--for=condition=AllInjected", "--timeout=20s"]);
  await type(stage, ["scale", "deployment", "squall-controller", "-n", "squall-system", "--replicas=0"]);
  await kubectl.run(["delete", "pods", "-n", "squall-system", "-l", "app=squall-controller", "--force", "--grace-period=0"]);
  try {
    const orphan = await watch(stage, Math.max(3_000, appliedAt + duration * 1_000 - 2_000 - stage.now()));
    claim(`still delayed without a controller: ${describeFigures(orphan)}`, Math.abs((orphan.medianMs ?? 0) - normalMs - 200) < 40);
    await sleep(Math.max(0, appliedAt + duration * 1_000 + 500 - stage.now()));
    await recovered(`over after ${duration} s, nobody told the sidecar`, normalMs);
  } finally {
    screen.say("  The controller comes back:");
    await type(stage, ["scale", "deployment", "squall-controller", "-n", "squall-system", "--replicas=2"]);
  }
  await kubectl.run(["rollout", "status", "deployment/squall-controller", "-n", "squall-system", "--timeout=60s"], { timeoutMs: 70_000 });
  await kubectl.run(["delete", "networkchaos", "slow-orphan", "-n", "shop", "--timeout=30s"]);
  return claims;
}

async function podNames({ kubectl }: Stage): Promise<readonly string[]> {
  return (await kubectl.run(["get", "pods", "-n", "shop", "-l", "app=store", "-o", "jsonpath={.items[*].metadata.name}"])).split(" ");
}
