import type { Clock } from "../common/clock.ts";
import type { Experiment } from "../kube/experiments.ts";
import type { Refusal } from "./permission.ts";

/** What is remembered of an experiment between visits. All of it may be lost: it saves work and never decides what is true. */
export interface Memory {
  readonly uid: string;
  /**
   * Monotonic; when it was created, reckoned from its time stamp when this process first saw it. From then on nobody who sets the wall clock
   * moves its end; and it never seems younger than new.
   */
  readonly bornMs: number;
  /** The newest version seen or written. */
  latest: Experiment;
  /** Monotonic; of the last status write. */
  lastWriteMs: number | undefined;
  /** Monotonic; since when a change of status waits to be complete. */
  busySinceMs: number | undefined;
  /** Attempts in a row that found no target. */
  emptySelections: number;
  /** The last refusal to send the first fault; undefined while there is none. */
  refusal: Refusal | undefined;
  /** Visits in a row in which a pod could not be deleted, killed or changed. */
  failedActs: number;
  /** Monotonic; when the deletion was asked for and when this process first saw it: the same, unless it was so from the first sight on. */
  deletion: { readonly askedMs: number; readonly seenMs: number } | undefined;
  /** UIDs of targets that the API server said are gone. */
  readonly gone: Set<string>;
  /** Names of events already sent. */
  readonly sentEvents: Set<string>;
}

/**
 * Keeps a visit from acting on an object older than one that was seen or written before: the cache lags behind our own
 * writes, and a watch that starts over may even go back in time.
 */
export class Memories {
  readonly #byKey = new Map<string, Memory>();
  /** UID of the object of a key that is known to be gone, while the cache may still have it. */
  readonly #buried = new Map<string, string>();

  /** The memory of the object in the cache, with whichever version is newer. */
  recall(key: string, cached: Experiment, clock: Clock): Memory {
    const known = this.#byKey.get(key);
    if (known !== undefined && !isNewer(cached, known.latest)) return known;
    if (known?.uid === cached.metadata.uid) {
      known.latest = cached;
      return known;
    }
    const { uid, creationTimestamp, deletionTimestamp } = cached.metadata;
    const nowMs = clock.monotonicMs();
    const reckon = (time: string): number => nowMs - Math.max(0, clock.now().getTime() - Date.parse(time));
    const fresh: Memory = {
      uid,
      bornMs: reckon(creationTimestamp),
      latest: cached,
      lastWriteMs: undefined,
      busySinceMs: undefined,
      emptySelections: 0,
      refusal: undefined,
      failedActs: 0,
      deletion: deletionTimestamp === undefined ? undefined : { askedMs: reckon(deletionTimestamp), seenMs: nowMs },
      gone: new Set(),
      sentEvents: new Set(),
    };
    this.#byKey.set(key, fresh);
    return fresh;
  }

  get(key: string): Memory | undefined {
    return this.#byKey.get(key);
  }

  forget(key: string): void {
    this.#byKey.delete(key);
  }

  /** The API server says that this object is gone. A cache that still has it must not bring its faults back. */
  bury(key: string, uid: string): void {
    this.#byKey.delete(key);
    this.#buried.set(key, uid);
  }

  isBuried(key: string, uid: string): boolean {
    return this.#buried.get(key) === uid;
  }

  /** The cache has none of this key any more. */
  unbury(key: string): void {
    this.#buried.delete(key);
  }
}

/**
 * Versions of one kind can be compared as numbers:
 * https://github.com/kubernetes/enhancements/tree/master/keps/sig-api-machinery/5504-comparable-resource-version.
 */
function isNewer(one: Experiment, other: Experiment): boolean {
  const [left, right] = [one.metadata.resourceVersion, other.metadata.resourceVersion];
  if (!/^\d+$/.test(left) || !/^\d+$/.test(right)) return left !== right;
  return BigInt(left) > BigInt(right);
}
