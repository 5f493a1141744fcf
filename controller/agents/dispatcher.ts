import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import type { DesiredFaults, Passport } from "../../proto/gen/agent.ts";
import type { Dial } from "./link.ts";
import { Pace } from "./pace.ts";
import { type AgentView, Sender, type WantedFault, type Whereabouts } from "./sender.ts";

/** What one experiment wants of one agent: a fault in force, or proof that it is not. */
export interface Wish {
  /** UID of the pod whose sidecar it is, or node/NAME. */
  readonly agent: string;
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
  /** Where an agent is now. */
  readonly locate: (agent: string) => Whereabouts;
  readonly clock: Clock;
  readonly log: Log;
  readonly random?: (() => number) | undefined;
  /** The end of the leadership. */
  readonly signal: AbortSignal;
  /** Throws when this process no longer leads. */
  readonly mustLead: () => void;
  readonly onPassport: (agent: string, passport: Passport) => void;
  /** Something became known of an agent that this owner has wishes for. With very many agents it may wait a moment for more: `withinMs`. */
  readonly onChange: (owner: Owner, withinMs: number) => void;
}

interface AgentEntry {
  readonly sender: Sender;
  readonly wishes: Map<string, { readonly owner: Owner; readonly wishes: readonly Wish[] }>;
}

interface OwnerEntry {
  readonly agents: readonly string[];
  /** Those of them that have not confirmed the newest set yet. */
  readonly unconfirmed: Set<string>;
}

/** A look at all of an owner's agents takes up to a tenth of this for each of them: whoever looked at every change would do nothing else. */
const NEWS_MS_PER_AGENT = 0.2;

/**
 * All senders of one leadership, one for each agent. Nothing is sent before `open`: the set that an agent gets is complete,
 * so every experiment must have had its say first, or a new leader would take faults back that another experiment wants.
 */
export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #agents = new Map<string, AgentEntry>();
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
    for (const { sender } of this.#agents.values()) sender.start();
  }

  /** Replaces all wishes of an experiment. One that it no longer mentions is taken back without waiting for a confirmation. */
  wish(owner: Owner, wishes: readonly Wish[]): void {
    const byAgent = Map.groupBy(wishes, ({ agent }) => agent);
    const touched = new Set([...(this.#owners.get(owner.uid)?.agents ?? []), ...byAgent.keys()]);
    const unconfirmed = new Set<string>();
    if (byAgent.size === 0) this.#owners.delete(owner.uid);
    else this.#owners.set(owner.uid, { agents: [...byAgent.keys()], unconfirmed });
    for (const agent of touched) {
      const entry = this.#entryOf(agent);
      const own = byAgent.get(agent);
      if (own === undefined) entry.wishes.delete(owner.uid);
      else entry.wishes.set(owner.uid, { owner, wishes: own });
      entry.sender.want([...entry.wishes.values()].flatMap((one) => one.wishes.flatMap(({ fault }) => fault ?? [])));
      if (own !== undefined && !entry.sender.isCurrent) unconfirmed.add(agent);
      // Not before it knows what to send: the first set of a new sender would be an empty one.
      if (this.#isOpen) entry.sender.start();
      this.#forgetIfDone(agent, entry);
    }
  }

  /** Takes the experiment of this UID out: it is gone. */
  forget(experimentUid: string): void {
    this.wish({ uid: experimentUid, key: "" }, []);
  }

  /** An agent is gone for good, and whatever it carried. */
  drop(agent: string): void {
    const entry = this.#agents.get(agent);
    if (entry === undefined) return;
    this.#agents.delete(agent);
    void entry.sender.close();
  }

  /** What is known of an agent; undefined where nobody has a wish for it. */
  view(agent: string): AgentView | undefined {
    return this.#agents.get(agent)?.sender.view;
  }

  /** What an agent that enrols is to carry; undefined while that is not known. */
  desiredFor(agent: string): DesiredFaults | undefined {
    if (!this.#isOpen || this.#options.signal.aborted) return undefined;
    const entry = this.#agents.get(agent);
    if (entry !== undefined) return entry.sender.desired();
    return { targetUid: agent, order: { leaderEpoch: this.#options.leaderEpoch, generation: this.#generation }, faults: [] };
  }

  /** Number of agents that somebody has a wish for or that still owe a confirmation. */
  get size(): number {
    return this.#agents.size;
  }

  /** Stops all senders. */
  async close(): Promise<void> {
    await Promise.all([...this.#agents.values()].map(({ sender }) => sender.close()));
    this.#agents.clear();
  }

  #entryOf(agent: string): AgentEntry {
    const known = this.#agents.get(agent);
    if (known !== undefined) return known;
    const { leaderEpoch, dial, locate, clock, log, signal, mustLead, random = Math.random } = this.#options;
    const wishes: AgentEntry["wishes"] = new Map();
    const entry: AgentEntry = {
      wishes,
      sender: new Sender({
        agent,
        leaderEpoch,
        nextGeneration: () => (this.#generation += 1),
        dial,
        pace: this.#pace,
        locate: () => locate(agent),
        clock,
        log,
        random,
        signal,
        mustLead,
        onPassport: (passport) => this.#options.onPassport(agent, passport),
        onChange: () => {
          for (const { owner } of wishes.values()) this.#tell(owner, agent, entry);
          this.#forgetIfDone(agent, entry);
        },
      }),
    };
    this.#agents.set(agent, entry);
    return entry;
  }

  /** At once when it was the last agent that the owner waited for. */
  #tell(owner: Owner, agent: string, { sender }: AgentEntry): void {
    const { agents = [], unconfirmed } = this.#owners.get(owner.uid) ?? {};
    const isLast = sender.isCurrent && unconfirmed?.delete(agent) === true && unconfirmed.size === 0;
    this.#options.onChange(owner, isLast ? 0 : Math.floor(agents.length * NEWS_MS_PER_AGENT));
  }

  /** Nobody asks, and either the agent confirmed that nothing is left or there is nobody to ask. */
  #forgetIfDone(agent: string, { sender, wishes }: AgentEntry): void {
    if (wishes.size > 0) return;
    if (sender.isIdle || this.#options.locate(agent) === "gone") this.drop(agent);
  }
}
