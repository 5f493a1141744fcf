import { podId } from "../../api/selection.ts";
import { annotations } from "../../common/names.ts";
import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import { isKubeError } from "../../kube/errors.ts";
import { experimentResource } from "../../kube/experiments.ts";
import { events, type Pod } from "../../kube/resources.ts";
import { timeOf } from "../records.ts";
import type { World } from "../world.ts";
import { type ChangePodDeps, changePod } from "./change-pod.ts";
import { readClaim } from "./claim.ts";
import { planRelease } from "./plan-change.ts";

export interface SweepOptions extends ChangePodDeps {
  readonly world: World;
  readonly clock: Clock;
  readonly log: Log;
}

/** Pods and experiments go in crowds. */
const SOON_MS = 500;
const RETRY_MS = 3_000;
const RELEASES_AT_ONCE = 16;
/** No other kind claims pods. */
const holding = experimentResource("PodChaos");

/**
 * Gives pods their images back that are held for experiments which are gone: deleted by force, or with an installation before this one. Looks
 * whenever something changes, and believes the API server alone that an experiment is gone.
 */
export function startSweep({ kube, world, clock, log, signal, mustLead }: SweepOptions): { close(): Promise<void> } {
  let disarm: (() => void) | undefined;
  let working: Promise<void> = Promise.resolve();
  const told = new Set<string>();
  const wake = (waitMs: number): void => {
    disarm ??= clock.after(waitMs, () => {
      disarm = undefined;
      working = working.then(sweep).catch((error: unknown) => {
        if (signal.aborted) return;
        log.warn({ err: error }, "pods that nobody holds any more could not be looked after");
        wake(RETRY_MS);
      });
    });
  };
  const offs = [world.onChange(() => wake(SOON_MS)), world.onClaim(() => wake(SOON_MS))];
  wake(0);

  async function sweep(): Promise<void> {
    const suspects = findSuspects();
    if (suspects.size === 0 || signal.aborted) return;
    // UIDs do not come back: what held a pod before this list, and is not in it, is gone for good.
    for (const uid of await listUids()) suspects.delete(uid);
    const left = world.claimedPods().filter((pod) => holdersOf(pod).some((holder) => suspects.has(holder)));
    for (let start = 0; start < left.length; start += RELEASES_AT_ONCE)
      await Promise.all(left.slice(start, start + RELEASES_AT_ONCE).map((pod) => release(pod, suspects)));
  }

  /** Holders that no copy of an experiment has. */
  function findSuspects(): Set<string> {
    const claimed = world.claimedPods();
    for (const pod of claimed) if (readClaim(pod) === "unreadable") tellOnce(pod);
    const known = new Set(claimed.length === 0 ? [] : world.experiments().map(({ experiment }) => experiment.metadata.uid));
    return new Set(claimed.flatMap(holdersOf).filter((holder) => !known.has(holder)));
  }

  async function listUids(): Promise<readonly string[]> {
    try {
      const { items } = await kube.list(holding, {}, signal);
      return items.map(({ metadata }) => metadata.uid);
    } catch (error) {
      // The kind went with its experiments.
      if (isKubeError(error, "not-found")) return [];
      throw error;
    }
  }

  async function release(copy: Pod, gone: ReadonlySet<string>): Promise<void> {
    const { namespace, name, uid } = copy.metadata;
    const plan = (pod: Pod) => planRelease(pod, (holder) => gone.has(holder));
    const outcome = await changePod({ ref: { namespace, name }, uid, copy, plan }, { kube, signal, mustLead });
    const pod = podId(copy);
    if (outcome.is === "failed") log.error({ pod, why: outcome.message }, "a pod that nobody holds any more keeps the pause image");
    if (outcome.is === "failed" || outcome.is === "retry") wake(RETRY_MS);
    if (outcome.is !== "changed") return;
    log.warn({ pod, holders: holdersOf(copy).filter((holder) => gone.has(holder)) }, "a pod was held for experiments that are gone");
    await tell(outcome.pod);
  }

  async function tell(pod: Pod): Promise<void> {
    const { namespace = "", name, uid } = pod.metadata;
    const time = timeOf(clock.now());
    const body = {
      metadata: { namespace, generateName: `${name.slice(0, 230)}.` },
      involvedObject: { apiVersion: "v1", kind: "Pod", namespace, name, uid },
      type: "Warning",
      reason: "PodFailureSwept",
      message: readClaim(pod) === undefined ? RESTORED : SHARED,
      source: { component: "squall" },
      count: 1,
      firstTimestamp: time,
      lastTimestamp: time,
    };
    try {
      await kube.create(events, body, {}, signal);
    } catch (error) {
      if (!signal.aborted) log.warn({ pod: podId(pod), err: error }, "event could not be written");
    }
  }

  function tellOnce({ metadata }: Pod): void {
    if (told.has(metadata.uid)) return;
    told.add(metadata.uid);
    const pod = podId({ metadata });
    log.error({ pod, annotation: annotations.podFailure }, "an annotation of ours cannot be read: restore the pod's images by hand");
  }

  return {
    async close() {
      for (const off of offs) off();
      disarm?.();
      await working;
    },
  };
}

function holdersOf(pod: Pod): readonly string[] {
  const claim = readClaim(pod);
  return claim === undefined || claim === "unreadable" ? [] : claim.holders;
}

const RESTORED = "The experiment that replaced the images of this pod is gone without taking it back. They are what they were.";
const SHARED = "One of the experiments that replaced the images of this pod is gone without taking it back. Others still hold it.";
