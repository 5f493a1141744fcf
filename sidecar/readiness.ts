import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { sidecarPaths } from "../common/sidecar-layout.ts";
import { VERSION } from "../common/version.ts";
import type { VisitExplanation } from "./explanation.ts";
import { VOLUME_NOT_MOUNTED } from "./files/file-carrier.ts";
import type { VolumeState } from "./files/volume-keeper.ts";

/** Whether every volume is served or never will be. */
export const areVolumesSettled = (states: ReadonlyMap<string, VolumeState>): boolean =>
  [...states.values()].every(({ is }) => is !== "waiting");

/** Whether they are, and no fault waits for one: what the application opens now goes through all that is wanted. */
export function isSettled(states: ReadonlyMap<string, VolumeState>, faults: VisitExplanation["faults"]): boolean {
  return areVolumesSettled(states) && faults.every(({ reason }) => reason !== VOLUME_NOT_MOUNTED);
}

/** Has the postStart hook end, see wait.ts. */
export const tellReady = (): Promise<void> => tell(sidecarPaths.ready);

/** Has it wait for volumes no longer. */
export const tellVolumesSettled = (): Promise<void> => tell(sidecarPaths.volumesSettled);

async function tell(path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, `${VERSION}\n`);
}
