import type { Refusal } from "../../agent/plan.ts";
import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import type { Fault, Receipt, ResolvedName } from "../../proto/gen/agent.ts";
import type { NodeFamily, PlacedFault } from "../node-family.ts";
import { SharedNetworkError } from "./open-network.ts";
import { type PodProcess, PodProcessError } from "./pod-process.ts";
import type { PodNetworks } from "./pod-networks.ts";

export interface NetworkFaultsOptions {
  readonly networks: Pick<PodNetworks, "join" | "listLeftovers">;
  /** Why this node cannot do it; undefined where it can. */
  readonly missing: string | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

export interface NetworkFaults extends NodeFamily {
  /** Whether the pod of this UID is faulted, or about to be. */
  isFaulting(podUid: string): boolean;
}

/** Each has a process of its own in the daemon's memory. */
const MOST_PODS = 16;

/** One pod with a process of ours inside. */
interface JoinedPod {
  readonly inside: PodProcess;
  /** Which sandbox: one that was made anew has another network. */
  readonly sandboxId: string;
  faultIds: readonly string[];
  resolved: ReadonlyMap<string, readonly ResolvedName[]>;
  /** Asked for each fault, answered for all of the pod. */
  receipts: Promise<ReadonlyMap<string, Receipt>> | undefined;
}

/** Late join: network faults of pods without a sidecar, each pod's by a process inside its network namespace that lives as long as the pod has faults. */
export function createNetworkFaults({ networks, missing, clock, log }: NetworkFaultsOptions): NetworkFaults {
  const pods = new Map<string, JoinedPod>();
  const turns = new Map<string, Promise<unknown>>();
  let tellChange = (): void => undefined;

  /** One after the other for each pod: a process that takes back what was left must not meet another one's faults. */
  function inTurn<R>(podUid: string, act: () => Promise<R>): Promise<R> {
    const next = (turns.get(podUid) ?? Promise.resolve()).then(act);
    const settled: Promise<unknown> = next.catch(() => undefined).then(() => turns.get(podUid) === settled && turns.delete(podUid));
    turns.set(podUid, settled);
    return next;
  }

  async function join(podUid: string, [first]: readonly PlacedFault[]): Promise<JoinedPod | undefined> {
    const inside = await networks.join(podUid, first?.fault.target?.network);
    if (inside === undefined) return undefined;
    inside.onChange(() => tellChange());
    const pod = { inside, sandboxId: first?.container.id ?? "", faultIds: [], resolved: new Map(), receipts: undefined };
    pods.set(podUid, pod);
    return pod;
  }

  /** Takes everything back; throws when that may have failed. A process that was cut off is followed by one that finds its journal. */
  async function leave(podUid: string, pod: JoinedPod): Promise<void> {
    try {
      await pod.inside.converge([]);
    } catch (error) {
      log.warn({ err: error, uid: podUid }, "a pod's network could not be left; it is joined anew to do so");
      await pod.inside.close();
      const next = await networks.join(podUid);
      await next?.close();
      pods.delete(podUid);
      return;
    }
    pods.delete(podUid);
    await pod.inside.close();
  }

  async function convergePod(
    podUid: string,
    placed: readonly PlacedFault[],
    remainingMs: (fault: Fault) => number,
  ): Promise<readonly Refusal[]> {
    const wanted = new Set(placed.map(({ fault }) => fault.id));
    let known = pods.get(podUid);
    try {
      if (known !== undefined && (placed.length === 0 || known.sandboxId !== placed[0]?.container.id)) {
        await leave(podUid, known);
        known = undefined;
      }
      if (placed.length === 0) return [];
      if (known?.inside.isAlive !== true) known = await join(podUid, placed);
      if (known === undefined) return placed.map(({ fault }) => ({ faultId: fault.id, ...GONE }));
      const nowMs = clock.monotonicMs();
      // Whatever becomes of the call, these may be in force from here on.
      known.faultIds = [...new Set([...known.faultIds, ...wanted])];
      const { refusals, resolved } = await known.inside.converge(
        placed.map(({ fault }) => ({ fault, untilMs: nowMs + remainingMs(fault) })),
      );
      known.faultIds = [...wanted];
      known.resolved = new Map(resolved);
      return refusals;
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (error instanceof SharedNetworkError) return [...wanted].map((faultId) => ({ faultId, reason: "HostNetwork", message }));
      const isTakenBack = error instanceof PodProcessError && error.isTakenBack;
      const left = isTakenBack ? [] : (pods.get(podUid)?.faultIds ?? []).filter((id) => !wanted.has(id));
      return [
        ...[...wanted].map((faultId) => ({ faultId, reason: "ApplyFailed", message, isTransient: true })),
        ...left.map((faultId) => ({ faultId, reason: "RecoverFailed", message, isTransient: true })),
      ];
    }
  }

  /** A journal of a pod that is faulted now is in use. */
  async function recoverPod(podUid: string): Promise<void> {
    if (pods.has(podUid)) return;
    const inside = await networks.join(podUid);
    await inside?.close();
    log.info({ uid: podUid, isGone: inside === undefined }, "what was left in a pod's network was taken back");
  }

  const podOf = (faultId: string): JoinedPod | undefined => [...pods.values()].find(({ faultIds }) => faultIds.includes(faultId));

  return {
    name: "network",
    actsOn: "pods",
    missing,
    async converge(faults, remainingMs) {
      const wanted = Map.groupBy(faults, ({ container }) => container.podUid);
      const fresh = [...wanted.keys()].filter((uid) => !pods.has(uid));
      const staying = [...pods.keys()].filter((uid) => wanted.has(uid)).length;
      const tooMany = new Set(fresh.slice(Math.max(0, MOST_PODS - staying)));
      const podUids = [...new Set([...pods.keys(), ...wanted.keys()])].filter((uid) => !tooMany.has(uid));
      const refusals = await Promise.all(podUids.map((uid) => inTurn(uid, () => convergePod(uid, wanted.get(uid) ?? [], remainingMs))));
      const leftOut = faults.filter(({ container }) => tooMany.has(container.podUid));
      return [...refusals.flat(), ...leftOut.map(({ fault }) => ({ faultId: fault.id, ...TOO_MANY }))];
    },
    get isBusy() {
      return pods.size > 0;
    },
    look: () => Promise.resolve(),
    onChange(callback) {
      tellChange = callback;
    },
    remarkOf: () => undefined,
    resolvedOf: (faultId) => podOf(faultId)?.resolved.get(faultId) ?? [],
    async receiptOf(faultId) {
      const pod = podOf(faultId);
      if (pod === undefined || !pod.inside.isAlive) return undefined;
      pod.receipts ??= pod.inside.readReceipts().finally(() => {
        pod.receipts = undefined;
      });
      try {
        return (await pod.receipts).get(faultId);
      } catch (error) {
        log.warn({ err: error }, "receipts could not be read in a pod's network");
        return undefined;
      }
    },
    async recover() {
      for (const podUid of await networks.listLeftovers())
        await inTurn(podUid, () => recoverPod(podUid)).catch((error: unknown) =>
          log.warn({ err: error, uid: podUid }, "what was left in a pod's network could not be taken back; it is tried again"),
        );
    },
    isFaulting: (podUid) => pods.has(podUid),
  };
}

const GONE = { reason: "NotRunning", message: "The pod does not run on this node now.", isTransient: true } as const;
const TOO_MANY = {
  reason: "TooManyPods",
  message: `The daemon faults the networks of ${MOST_PODS} pods of its node at a time. It is tried again when there are fewer.`,
  isTransient: true,
} as const;
