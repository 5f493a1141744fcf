import { stat } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { sidecarPaths } from "../common/sidecar-layout.ts";

const LONGEST_WAIT_MS = 2_000;
const POLL_MS = 25;

/** The postStart hook: holds the application's start back until the sidecar enrolled and its volumes are served, for 2 s at most. Never fails: no pod is held hostage. */
export async function waitForSidecar(): Promise<void> {
  const end = performance.now() + LONGEST_WAIT_MS;
  while (performance.now() < end) {
    const isReady = await stat(sidecarPaths.ready).then(
      () => true,
      () => false, // not there yet; whatever else is wrong, the application starts
    );
    if (isReady) return;
    await sleep(POLL_MS);
  }
}
