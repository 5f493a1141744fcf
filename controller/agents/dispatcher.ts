import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import type { DesiredFaults, Passport } from "../../proto/gen/agent.ts";
import type { Dial } from "./link.ts";
import { Pace } from "./pace.ts";
import { type AgentView, Sender, type WantedFault, type Whereabouts } from "./sender.ts";

/** What one experiment wants of one pod: a fault in force, or proof that it is not. */
export interface Wish {
  readonly podUid: string;
  readonly faultId: string;
  /** Undefined: the fault is to be gone, and the agent is to confirm it. */
  readonly fault: WantedFault | undefined;
}

/** Whose wishes they are. */
export interface Owner {
  readonly uid: string;
  /** Key in the work queue. */
  readonly key: string;
}

export interface DispatcherOptions {
  readonly leaderEpoch: number;
  readonly dial: Dial;
  /** Where a pod of this UID is now. */
  readonly locate: (podUid: string) => Whereabouts;
  readonly clock: Clock;
  readonly log: Log;
  readonly random?: (() => number) | undefined;
  /** The end of the leadership. */
  readonly signal: AbortSignal;
  /** Throws when this process no longer leads. */
  readonly mustLead: () => void;
  readonly onPassport: (podUid: string, passport: Passport) => void;
  /** Something became known of a pod that this owner has wishes for. With very many pods it may wait a moment for more: `withinMs`. */
  readonly onChange: (owner: Owner, withinMs: number) => void;
}

interface PodEntry {
  readonly sender: Sender;
  readonly wishes: Map<string, { readonly owner: Owner; readonly wishes: readonly Wish[] }>;
}

interface OwnerEntry {
  readonly pods: readonly string[];
  /** Those of them whose agents have not confirmed the newest set yet. */
  readonly unconfirmed: Set<string>;
}

/** A look at all of an owner's pods takes up to a tenth of this for each of them: whoever looked at every change would do nothing else. */
const NEWS_MS_PER_POD = 0.2;

/**
 * All senders of one leadership, one for each pod UID. Nothing is sent before `open`: the set that an agent gets is complete,
 * so every experiment must have had its say first, or a new leader would take faults back that another experiment wants.
 */
export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #pods = new Map<string, PodEntry>();
  readonly #owners = new Map<string, OwnerEntry>();
  readonly #pace: Pace;
  #isOpen = false;
  /** Begins above every number of a dispatcher that this process had before, in microseconds: a leadership may be taken up anew within its epoch. */
  #generation: number;

  constructor(options: DispatcherOptions) {
    this.#options = options;
    this.#generation = Math.floor(options.clock.monotonicMs() * 1_000);
    this.#pace = new Pace(options.clock);
  }

  /** Lets senders start. */
  open(): void {
    this.#isOpen = true;
    for (const { sender } of this.#pods.values()) sender.start();
  }

  /** Replaces all wishes of an experiment. One that it no longer mentions is taken back without waiting for a confirmation. */
  wish(owner: Owner, wishes: readonly Wish[]): void {
    const byPod = Map.groupBy(wishes, ({ podUid }) => podUid);
    const touched = new Set([...(this.#owners.get(owner.uid)?.pods ?? []), ...byPod.keys()]);
    const unconfirmed = new Set<string>();
    if (byPod.size === 0) this.#owners.delete(owner.uid);
    else this.#owners.set(owner.uid, { pods: [...byPod.keys()], unconfirmed });
    for (const podUid of touched) {
      const entry = this.#entryOf(podUid);
      const own = byPod.get(podUid);
      if (own === undefined) entry.wishes.delete(owner.uid);
      else entry.wishes.set(owner.uid, { owner, wishes: own });
      entry.sender.want([...entry.wishes.values()].flatMap((one) => one.wishes.flatMap(({ fault }) => fault ?? [])));
      if (own !== undefined && !entry.sender.isCurrent) unconfirmed.add(podUid);
      // Not before it knows what to send: the first set of a new sender would be an empty one.
      if (this.#isOpen) entry.sender.start();
      this.#forgetIfDone(podUid, entry);
    }
  }

  /** Takes the experiment of this UID out: it is gone. */
  forget(experimentUid: string): void {
    this.wish({ uid: experimentUid, key: "" }, []);
  }

  /** A pod is gone for good, and whatever was on it. */
  dropPod(podUid: string): void {
    const entry = this.#pods.get(podUid);
    if (entry === undefined) return;
    this.#pods.delete(podUid);
    void entry.sender.close();
  }

  /** What is known of a pod's agent; undefined where nobody has a wish for it. */
  view(podUid: string): AgentView | undefined {
    return this.#pods.get(podUid)?.sender.view;
  }

  /** What applies to a pod now, for an agent that enrols; undefined while that is not known. */
  desiredFor(podUid: string): DesiredFaults | undefined {
    if (!this.#isOpen || this.#options.signal.aborted) return undefined;
    const entry = this.#pods.get(podUid);
    if (entry !== undefined) return entry.sender.desired();
    return { targetUid: podUid, order: { leaderEpoch: this.#options.leaderEpoch, generation: this.#generation }, faults: [] };
  }

  /** Number of pods that somebody has a wish for or that still owe a confirmation. */
  get size(): number {
    return this.#pods.size;
  }

  /** Stops all senders. */
  async close(): Promise<void> {
    await Promise.all([...this.#pods.values()].map(({ sender }) => sender.close()));
    this.#pods.clear();
  }

  #entryOf(podUid: string): PodEntry {
    const known = this.#pods.get(podUid);
    if (known !== undefined) return known;
    const { leaderEpoch, dial, locate, clock, log, signal, mustLead, random = Math.random } = this.#options;
    const wishes: PodEntry["wishes"] = new Map();
    const entry: PodEntry = {
      wishes,
      sender: new Sender({
        podUid,
        leaderEpoch,
        nextGeneration: () => (this.#generation += 1),
        dial,
        pace: this.#pace,
        locate: () => locate(podUid),
        clock,
        log,
        random,
        signal,
        mustLead,
        onPassport: (passport) => this.#options.onPassport(podUid, passport),
        onChange: () => {
          for (const { owner } of wishes.values()) this.#tell(owner, podUid, entry);
          this.#forgetIfDone(podUid, entry);
        },
      }),
    };
    this.#pods.set(podUid, entry);
    return entry;
  }

  /** At once when it was the last pod that the owner waited for. */
  #tell(owner: Owner, podUid: string, { sender }: PodEntry): void {
    const { pods = [], unconfirmed } = this.#owners.get(owner.uid) ?? {};
    const isLast = sender.isCurrent && unconfirmed?.delete(podUid) === true && unconfirmed.size === 0;
    this.#options.onChange(owner, isLast ? 0 : Math.floor(pods.length * NEWS_MS_PER_POD));
  }

  /** Nobody asks, and either the agent confirmed that nothing is left or there is no pod to ask. */
  #forgetIfDone(podUid: string, { sender, wishes }: PodEntry): void {
    if (wishes.size > 0) return;
    if (sender.isIdle || this.#options.locate(podUid) === "gone") this.dropPod(podUid);
  }
}
