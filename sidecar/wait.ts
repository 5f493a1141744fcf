import { access } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { sidecarPaths } from "../common/sidecar-layout.ts";

const LONGEST_WAIT_MS = 2_000;
/** A volume that is not served when the first container starts never is. */
const LONGEST_WAIT_FOR_VOLUMES_MS = 10_000;
const POLL_MS = 25;

/**
 * The postStart hook: holds the application's start back until the sidecar enrolled, for 2 s at most, and until it is settled which volumes are served,
 * for 10 s at most. Never fails: no pod is held hostage.
 */
export async function waitForSidecar({ hasVolumes }: { readonly hasVolumes: boolean }): Promise<void> {
  const startMs = performance.now();
  for (;;) {
    const waitedMs = performance.now() - startMs;
    if ((await isThere(sidecarPaths.ready)) || waitedMs >= LONGEST_WAIT_FOR_VOLUMES_MS) return;
    if (waitedMs >= LONGEST_WAIT_MS && (!hasVolumes || (await isThere(sidecarPaths.volumesSettled)))) return;
    await sleep(POLL_MS);
  }
}

/** Whatever else is wrong, it is not there yet. */
const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
