import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import { nodeAgent, nodeOfAgent } from "../common/names.ts";
import type { Owner, Wish } from "./agents/dispatcher.ts";
import type { Passports } from "./agents/passports.ts";
import type { AgentView } from "./agents/sender.ts";
import { decide, faultIdOf } from "./decide.ts";
import type { ExperimentKey } from "./experiment-key.ts";
import type { Ledger } from "./ledger.ts";
import type { Memories } from "./memory.ts";
import { observeCached } from "./observe.ts";
import type { World } from "./world.ts";

/** Faults have the same ids on all nodes. */
const ANY_NODE = nodeAgent("");

export interface PrimeDeps {
  readonly world: World;
  readonly agents: { view(agent: string): AgentView | undefined; wish(owner: Owner, wishes: readonly Wish[]): void };
  readonly passports: Passports;
  readonly memories: Memories;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Tells the senders what is on record already, for all experiments, before they send anything. The set that an agent gets is
 * complete: were one experiment missing from it, because its visit failed or is still to come, its fault would be lifted.
 * From the caches alone, so that nothing can fail or take time; what is not on record yet is left to the visits.
 */
export function primeAgents(keys: readonly ExperimentKey[], deps: PrimeDeps): void {
  for (const key of keys) {
    try {
      prime(key, deps);
    } catch (error) {
      // One experiment that cannot be read must not keep all others from being led.
      deps.log.error({ experiment: key.text, err: error }, "an experiment could not be taken over; its faults end with their leases");
    }
  }
}

function prime(key: ExperimentKey, deps: PrimeDeps): void {
  const observed = observeCached(key, deps);
  if (observed === "gone") return;
  const { uid } = observed.experiment.metadata;
  const onRecord = new Set(
    (observed.experiment.status.experiment.containerRecords ?? [])
      .filter(({ phase }) => phase !== "Not Injected")
      .flatMap((record) => [
        `${record.targetUID ?? ""} ${faultIdOf(uid, record, record.targetUID ?? "")}`,
        faultIdOf(uid, record, ANY_NODE),
      ]),
  );
  const { wishes, held } = decide(observed, () => 0);
  // What is only drawn now is granted by the visit, once everything that is on record is entered.
  const recorded = new Set((observed.experiment.status.experiment.containerRecords ?? []).map(({ targetUID }) => targetUID));
  deps.ledger.hold(
    uid,
    held.filter((podUid) => recorded.has(podUid)),
    (podUid) => deps.world.pod(podUid),
  );
  deps.agents.wish(
    { uid, key: key.text },
    // A fault of a daemon names its pod itself.
    wishes.filter(({ agent, faultId }) => onRecord.has(nodeOfAgent(agent) === undefined ? `${agent} ${faultId}` : faultId)),
  );
}
