import type { Log } from "../common/log.ts";
import type { FaultFamily } from "./family.ts";
import type { Journal } from "./journal.ts";
import type { Programs } from "./programs.ts";

/** Takes back what an earlier life of this process left, then sweeps. Call it once, before anything else. */
export async function recoverLeftovers({
  journal,
  programs,
  sweep,
  log,
}: {
  readonly journal: Journal;
  readonly programs: Pick<Programs, "run">;
  readonly sweep: FaultFamily["sweep"];
  readonly log: Log;
}): Promise<void> {
  for (const undo of journal.leftovers.toReversed()) {
    await programs.run(undo).catch((error: unknown) => log.debug({ err: error }, "an undo of an earlier life found nothing to do"));
  }
  await sweep();
  await journal.clear();
}
