import type { Clock } from "../common/clock.ts";
import type { ExperimentStatus } from "../api/status.ts";
import type { AccessReviews } from "../kube/access.ts";
import { isKubeError } from "../kube/errors.ts";
import type { Experiment } from "../kube/experiments.ts";
import type { Kube } from "../kube/kube.ts";
import { type Pod, pods as podResource } from "../kube/resources.ts";
import type { Passports } from "./agents/passports.ts";
import type { AgentView } from "./agents/sender.ts";
import { actorOfRecords, agentOf } from "./agents/whose.ts";
import type { ExperimentKey } from "./experiment-key.ts";
import { binderOf } from "./kinds/translators.ts";
import type { Binding } from "./kinds/translator.ts";
import type { Ledger } from "./ledger.ts";
import { restrain, unlimited } from "./limits.ts";
import type { Memories, Memory } from "./memory.ts";
import { readRefusal, type Refusal } from "./permission.ts";
import { isFaulted, type Surroundings } from "./picking.ts";
import { timeOf } from "./records.ts";
import { coverServices, type Peer, type ServiceCoverage } from "./services.ts";
import type { Leaving } from "./uninstall/notice.ts";
import type { World } from "./world.ts";

/** All that one visit to an experiment looks at, read once. */
export interface Observed {
  readonly key: ExperimentKey;
  readonly experiment: Experiment;
  readonly binding: Binding;
  readonly now: Date;
  /** Monotonic. */
  readonly nowMs: number;
  /** The pod of a UID, or that the API server says it is gone; undefined for one that nothing is known of. */
  findPod(uid: string): Pod | "gone" | undefined;
  /** The agents of those pods, by the pods' UIDs, as far as anything is known of them. */
  readonly agents: ReadonlyMap<string, AgentView>;
  /** For picking targets. */
  readonly around: Surroundings;
  coverServices(peers: readonly Peer[]): ServiceCoverage;
  readonly memory: Readonly<Memory>;
  /** Why the first fault may not be sent; undefined where it may, or where none is about to be. */
  readonly refusal: Refusal | undefined;
  /** The halt that stopped it, now or before. */
  readonly halted: ExperimentStatus["halted"];
  /** Present while Squall is being uninstalled. */
  readonly leaving: Leaving | undefined;
  /** Milliseconds until policies forbid it, if nothing else changes. */
  readonly allowedForMs: number | undefined;
}

export interface ObserveDeps {
  readonly kube: Kube;
  readonly world: World;
  readonly agents: { view(agent: string): AgentView | undefined };
  readonly passports: Passports;
  readonly memories: Memories;
  readonly access: AccessReviews;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

const LOOK_UPS_AT_ONCE = 16;

/**
 * Reads what a visit needs; "gone" where there is no such experiment. Asks the API server only for targets that the cache misses, and
 * before the first fault whether the author may send it.
 */
export async function observe(key: ExperimentKey, deps: ObserveDeps): Promise<Observed | "gone"> {
  const cached = deps.world.experiment(key);
  if (cached === undefined) deps.memories.unbury(key.text);
  if (cached === undefined || deps.memories.isBuried(key.text, cached.metadata.uid)) return "gone";
  const memory = deps.memories.recall(key.text, cached, deps.clock);
  const missing = (memory.latest.status.experiment.containerRecords ?? []).flatMap(({ targetUID, id }) =>
    targetUID === undefined || deps.world.pod(targetUID) !== undefined ? [] : [{ uid: targetUID, id }],
  );
  const lost = new Map<string, Pod | "gone">();
  // A rollout replaces all pods of an experiment at once.
  for (let start = 0; start < missing.length; start += LOOK_UPS_AT_ONCE) {
    const found = missing
      .slice(start, start + LOOK_UPS_AT_ONCE)
      .map(async ({ uid, id }) => lost.set(uid, await findLost(uid, id, memory, deps)));
    await Promise.all(found);
  }
  // The copy may have been brought up to date meanwhile.
  const observed = observeCached(key, deps, lost);
  if (observed === "gone") return observed;
  if (observed.refusal !== undefined || observed.halted !== undefined) return observed;
  const { access, signal } = deps;
  memory.refusal = await readRefusal(observed, { access, signal });
  // Meanwhile somebody may have halted everything.
  const now = observeCached(key, deps, lost);
  return now === "gone" ? now : { ...now, refusal: now.refusal ?? memory.refusal };
}

/** As `observe`, from memory alone: of a target that the cache misses nothing is known, unless `lost` says it. */
export function observeCached(
  key: ExperimentKey,
  deps: Pick<ObserveDeps, "world" | "agents" | "passports" | "memories" | "ledger" | "clock">,
  lost: ReadonlyMap<string, Pod | "gone"> = new Map(),
): Observed | "gone" {
  const { world, memories, clock } = deps;
  const cached = world.experiment(key);
  if (cached === undefined || memories.isBuried(key.text, cached.metadata.uid)) return "gone";
  const memory = memories.recall(key.text, cached, clock);
  const experiment = memory.latest;
  const nowMs = clock.monotonicMs();
  if (experiment.metadata.deletionTimestamp !== undefined) memory.deletion ??= { askedMs: nowMs, seenMs: nowMs };
  const records = experiment.status.experiment.containerRecords ?? [];
  const targets = new Set(records.flatMap(({ targetUID }) => targetUID ?? []));
  const namespaces = new Set(records.map(({ id }) => id.slice(0, id.indexOf("/"))));
  // not with its status, whose thousands of records would be looked through for nothing
  const binding = binderOf(key.kind)({ metadata: experiment.metadata, spec: experiment.spec });
  const now = clock.now();
  const faultedKeys = new Set(binding.can === "run" ? binding.bound.selectors.filter(isFaulted).map(({ key: of }) => of) : []);
  const isOneShot = binding.can === "run" && binding.bound.isOneShot;
  const isKill = binding.can === "run" && binding.bound.act !== undefined;
  const actor = binding.can === "run" ? binding.bound.actor : actorOfRecords(records, key.kind);
  const findPod = (uid: string): Pod | "gone" | undefined => world.pod(uid) ?? lost.get(uid);
  const viewOf = (uid: string): AgentView | undefined => {
    const pod = findPod(uid);
    const agent = pod === undefined || pod === "gone" ? uid : agentOf(actor, pod);
    return agent === undefined ? undefined : deps.agents.view(agent);
  };
  const { limits } = world;
  // What is done once and for all is neither stopped nor started again.
  const isDone = isOneShot && records.length > 0 && records.every(({ phase }) => phase === "Injected");
  const restraint = isDone
    ? unlimited
    : restrain(experiment, (uid) => world.pod(uid), { world, limits, ledger: deps.ledger, faultedKeys, isKill, now, nowMs });
  return {
    key,
    experiment,
    binding,
    now,
    nowMs,
    findPod,
    agents: new Map(
      [...targets].flatMap((uid) => {
        const view = viewOf(uid);
        return view === undefined ? [] : [[uid, view]];
      }),
    ),
    around: {
      get pods() {
        return world.pods();
      },
      get nodes() {
        return world.nodes();
      },
      optInOf: (namespace) => world.optInOf(namespace),
      passportOf: (agent) => deps.passports.of(agent),
      hasDaemon: (node) => world.daemonOn(node) !== undefined,
      protects: restraint.protects,
      whyOverBudget: restraint.whyOverBudget,
    },
    coverServices: (peers) => {
      const around = new Set([...namespaces, ...peers.flatMap(({ uid }) => world.pod(uid)?.metadata.namespace ?? [])]);
      return coverServices(peers, world.services(around), world.slices(around));
    },
    memory,
    refusal: restraint.refusal,
    halted: experiment.status.halted ?? (restraint.haltedBy === undefined ? undefined : { by: restraint.haltedBy, time: timeOf(now) }),
    leaving: world.uninstall.leaving,
    allowedForMs: restraint.untilMs,
  };
}

/** A pod that the cache does not have may be too new for it: only the API server can say that it is gone. */
async function findLost(uid: string, id: string, memory: Memory, { kube, signal }: ObserveDeps): Promise<Pod | "gone"> {
  if (memory.gone.has(uid)) return "gone";
  const [namespace = "", name = ""] = id.split("/");
  try {
    const found = await kube.get(podResource, { namespace, name }, signal);
    if (found.metadata.uid === uid) return found;
  } catch (error) {
    if (!isKubeError(error, "not-found")) throw error;
  }
  memory.gone.add(uid);
  return "gone";
}
