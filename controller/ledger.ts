import type { Pod } from "../kube/resources.ts";
import { workloadOf } from "../api/policy/budget.ts";

/**
 * Which pods experiments fault now, by workload: what budgets are granted against. There is one, of the leader; a grant is entered in the
 * same turn in which it is decided, so two experiments cannot be granted the same room. It is rebuilt from the records before the first
 * grant, and nothing is lost with it.
 */
export class Ledger {
  readonly #podsByOwner = new Map<string, ReadonlyMap<string, string>>();
  readonly #usersByWorkload = new Map<string, Map<string, Set<string>>>();
  /** Keys of experiments that wait for room. */
  readonly #waiting = new Set<string>();
  readonly #onRoom: (keys: readonly string[]) => void;

  /** `onRoom` is called with all that wait when room may have become free. */
  constructor({ onRoom }: { readonly onRoom: (keys: readonly string[]) => void }) {
    this.#onRoom = onRoom;
  }

  /** Replaces what an experiment holds. A pod that went keeps the workload that it had. */
  hold(experimentUid: string, podUids: readonly string[], podOf: (uid: string) => Pod | undefined): void {
    const before = this.#podsByOwner.get(experimentUid) ?? new Map<string, string>();
    const now = new Map<string, string>();
    for (const uid of podUids) {
      const pod = podOf(uid);
      const workload = pod === undefined ? before.get(uid) : workloadOf(pod);
      if (workload !== undefined) now.set(uid, workload);
    }
    for (const [uid, workload] of before) if (now.get(uid) !== workload) this.#usersOf(workload).get(uid)?.delete(experimentUid);
    for (const [uid, workload] of now) {
      const users = this.#usersOf(workload);
      const of = users.get(uid) ?? new Set();
      users.set(uid, of.add(experimentUid));
    }
    if (now.size === 0) this.#podsByOwner.delete(experimentUid);
    else this.#podsByOwner.set(experimentUid, now);
    const isRoomier = [...before].some(([uid, workload]) => now.get(uid) !== workload);
    for (const workload of new Set(before.values())) this.#tidy(workload);
    if (!isRoomier || this.#waiting.size === 0) return;
    const keys = [...this.#waiting];
    this.#waiting.clear();
    this.#onRoom(keys);
  }

  release(experimentUid: string): void {
    this.hold(experimentUid, [], () => undefined);
  }

  /** UIDs of the pods of a workload that other experiments fault. */
  inUse(workload: string, besides: string): ReadonlySet<string> {
    const users = this.#usersByWorkload.get(workload) ?? new Map<string, Set<string>>();
    return new Set([...users].filter(([, owners]) => [...owners].some((owner) => owner !== besides)).map(([uid]) => uid));
  }

  /** This experiment is told when there may be room. */
  wait(key: string): void {
    this.#waiting.add(key);
  }

  #usersOf(workload: string): Map<string, Set<string>> {
    const known = this.#usersByWorkload.get(workload);
    if (known !== undefined) return known;
    const fresh = new Map<string, Set<string>>();
    this.#usersByWorkload.set(workload, fresh);
    return fresh;
  }

  #tidy(workload: string): void {
    const users = this.#usersByWorkload.get(workload);
    if (users === undefined) return;
    for (const [uid, owners] of users) if (owners.size === 0) users.delete(uid);
    if (users.size === 0) this.#usersByWorkload.delete(workload);
  }
}
