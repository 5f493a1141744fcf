import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { sidecarPaths } from "../common/sidecar-layout.ts";
import { VERSION } from "../common/version.ts";
import type { VisitExplanation } from "./explanation.ts";
import { VOLUME_NOT_MOUNTED } from "./files/file-carrier.ts";
import type { VolumeState } from "./files/volume-keeper.ts";

/** Whether every volume is served or never will be, and no fault waits for one: what the application opens now goes through all that is wanted. */
export function isSettled(states: ReadonlyMap<string, VolumeState>, faults: VisitExplanation["faults"]): boolean {
  return [...states.values()].every(({ is }) => is !== "waiting") && faults.every(({ reason }) => reason !== VOLUME_NOT_MOUNTED);
}

/** Has the postStart hook end, see wait.ts. */
export async function tellReady(): Promise<void> {
  await mkdir(dirname(sidecarPaths.ready), { recursive: true });
  await writeFile(sidecarPaths.ready, `${VERSION}\n`);
}
