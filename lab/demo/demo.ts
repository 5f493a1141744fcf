import type { Progress } from "../progress.ts";
import { createFigures } from "./figures.ts";
import { deployShop, type Images, installSquall } from "./install.ts";
import { type ClusterAccess, createKubectl } from "./kubectl.ts";
import { createScreen } from "./screen.ts";
import { playStory } from "./story.ts";

export interface DemoOptions {
  readonly access: ClusterAccess;
  readonly images: Images;
  readonly progress: Progress;
  readonly output: NodeJS.WriteStream;
  /** Added to the closing hints: how to use kubectl against this cluster, how to take it down. */
  readonly hints: readonly string[];
}

/** Installs Squall and the shop, then plays the story. Returns whether everything it promised was seen. */
export async function playDemo({ access, images, progress, output, hints }: DemoOptions): Promise<boolean> {
  const kubectl = createKubectl(access);
  const screen = createScreen(output);
  const following = new AbortController();
  try {
    await installSquall(kubectl, images, progress);
    await deployShop(kubectl, images, progress);
    await kubectl.run(["delete", "networkchaos,podchaos", "--all", "-n", "shop", "--timeout=30s"], { timeoutMs: 40_000 });
    const figures = createFigures(Date.now);
    kubectl.follow(["logs", "-n", "shop", "deployment/client", "-c", "client", "-f", "--tail=0"], figures.add, following.signal);
    const claims = await playStory({ kubectl, screen, figures: figures.between, now: Date.now });
    const missed = claims.filter(({ holds }) => !holds);
    screen.chapter(missed.length === 0 ? "What you saw" : `${missed.length} of ${claims.length} things were not as they should be`);
    for (const { text, holds } of claims) screen.verdict(text, { holds });
    screen.chapter("What to try next");
    for (const hint of hints) screen.say(`  ${hint}`);
    return missed.length === 0;
  } finally {
    following.abort();
  }
}
