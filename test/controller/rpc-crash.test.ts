import assert from "node:assert/strict";
import type { AgentLink, AgentTarget, HoldStream } from "../../controller/agents/link.ts";
import type { DesiredFaults, Heartbeat, Report } from "../../proto/gen/agent.ts";
import { playStory, type Story, stories } from "../support/crash-stories.ts";
import type { ExperimentCluster } from "../support/experiment-cluster.ts";

/** What passes between a controller and an agent, and what can go wrong with it. */
interface Troubles {
  readonly apply: "lost" | "unanswered" | "slow" | "late" | "twice" | "refused" | "cut" | "agent dies before" | "agent dies after";
  readonly hold: "lost" | "refused" | "cut" | "agent dies before" | "agent dies after";
  readonly beat: "lost" | "late" | "twice" | "cut" | "agent dies before" | "agent dies after";
  readonly report: "lost" | "slow" | "late" | "twice" | "cut" | "agent dies before" | "agent dies after";
}
type Rpc = keyof Troubles;
type Trouble = Troubles[Rpc];

/**
 * "lost": it never arrives, and nobody says so. "unanswered": it arrives, and its answer does not. "late": it arrives when its sender has long
 * given up, and said newer things. "cut": the connection breaks once it has arrived.
 */
const troubles: { readonly [R in Rpc]: readonly Troubles[R][] } = {
  apply: ["lost", "unanswered", "slow", "late", "twice", "refused", "cut", "agent dies before", "agent dies after"],
  hold: ["lost", "refused", "cut", "agent dies before", "agent dies after"],
  beat: ["lost", "late", "twice", "cut", "agent dies before", "agent dies after"],
  report: ["lost", "slow", "late", "twice", "cut", "agent dies before", "agent dies after"],
};
const rpcs = Object.keys(troubles) as Rpc[];
const rpcsOf = (trouble: Trouble): readonly Rpc[] => rpcs.filter((rpc) => (troubles[rpc] as readonly Trouble[]).includes(trouble));
const TIMEOUT_MS = 10_000;
const SLOW_MS = 2_000;
const LATE_MS = 15_000;
/** More than any story has. */
const MOST_RPCS = 40;

/** Breaks the way between controllers and agents at one RPC. */
class TroubledRpcs {
  readonly #at: number;
  readonly #trouble: Trouble;
  #count = 0;
  /** Of the RPC that was in trouble. */
  came: Rpc | undefined;

  constructor(at: number, trouble: Trouble) {
    this.#at = at;
    this.#trouble = trouble;
  }

  get count(): number {
    return this.#count;
  }

  arm(cluster: ExperimentCluster): void {
    const { agents, clock } = cluster;
    cluster.dial = (target) => this.#connect(agents.dial(target), target, cluster);
    this.#after = (ms, act) => void clock.after(ms, act);
  }

  #after: (ms: number, act: () => void) => void = () => undefined;
  readonly #wait = (ms: number): Promise<void> => new Promise((resolve) => this.#after(ms, resolve));

  #troubleOf<R extends Rpc>(rpc: R): Troubles[R] | "none" {
    this.#count += 1;
    const trouble = this.#count === this.#at ? troubles[rpc].find((one) => one === this.#trouble) : undefined;
    if (trouble !== undefined) this.came = rpc;
    return trouble ?? "none";
  }

  #connect(link: AgentLink, { uid }: AgentTarget, { agents }: ExperimentCluster): AgentLink {
    const restart = (): void => agents.of(uid).restart();
    const streams: { readonly end: (error: Error) => void }[] = [];
    /** Ends what is open on this connection; what the agent knows stays. */
    const cut = (): void => {
      for (const { end } of streams.splice(0)) end(new Error("connection reset"));
      link.close();
    };

    const apply = async (desired: DesiredFaults): Promise<Report> => {
      switch (this.#troubleOf("apply")) {
        case "lost":
          await this.#wait(TIMEOUT_MS);
          throw new Error("no answer in time");
        case "unanswered":
          await link.apply(desired);
          await this.#wait(TIMEOUT_MS);
          throw new Error("no answer in time");
        case "slow": {
          await this.#wait(SLOW_MS);
          const report = await link.apply(desired);
          await this.#wait(SLOW_MS);
          return report;
        }
        case "late":
          this.#after(LATE_MS, () => void link.apply(desired).catch(() => undefined)); // it may well be refused by then
          await this.#wait(TIMEOUT_MS);
          throw new Error("no answer in time");
        case "twice":
          this.#after(LATE_MS, () => void link.apply(desired).catch(() => undefined));
          return link.apply(desired);
        case "refused":
          throw new Error("UNAVAILABLE");
        case "cut":
          await link.apply(desired);
          cut();
          throw new Error("connection reset");
        case "agent dies before":
          restart();
          throw new Error("connection reset");
        case "agent dies after":
          await link.apply(desired);
          restart();
          throw new Error("connection reset");
        case "none":
          return link.apply(desired);
      }
    };

    const hear = (report: Report, onReport: (report: Report) => void): void => {
      switch (this.#troubleOf("report")) {
        case "lost":
          return;
        case "slow":
          return this.#after(SLOW_MS, () => onReport(report));
        case "late":
          return this.#after(LATE_MS, () => onReport(report));
        case "twice":
          onReport(report);
          return onReport(report);
        case "cut":
          onReport(report);
          return cut();
        case "agent dies before":
          return restart();
        case "agent dies after":
          onReport(report);
          return restart();
        case "none":
          return onReport(report);
      }
    };

    const hold = (onReport: (report: Report) => void): HoldStream => {
      const { promise: ended, resolve: end } = Promise.withResolvers<Error>();
      const trouble = this.#troubleOf("hold");
      if (trouble === "lost" || trouble === "refused") {
        // one that is lost is found out by the connection's own pings
        this.#after(trouble === "lost" ? LATE_MS : 0, () => end(new Error("UNAVAILABLE")));
        return { beat: () => undefined, ended, close: () => end(new Error("closed")) };
      }
      if (trouble === "agent dies before") restart();
      const stream = link.hold((report) => hear(report, onReport));
      streams.push({ end });
      void stream.ended.then(end);
      if (trouble === "cut") cut();
      if (trouble === "agent dies after") restart();
      return { ended, close: () => stream.close(), beat: (heartbeat) => beat(stream, heartbeat) };
    };

    const beat = (stream: HoldStream, heartbeat: Heartbeat): void => {
      switch (this.#troubleOf("beat")) {
        case "lost":
          return;
        case "late":
          return this.#after(LATE_MS, () => stream.beat(heartbeat));
        case "twice":
          stream.beat(heartbeat);
          return this.#after(LATE_MS, () => stream.beat(heartbeat));
        case "cut":
          stream.beat(heartbeat);
          return cut();
        case "agent dies before":
          return restart();
        case "agent dies after":
          stream.beat(heartbeat);
          return restart();
        case "none":
          return stream.beat(heartbeat);
      }
    };
    return { ...link, apply, hold };
  }
}

/** Plays a story with trouble at one RPC. */
async function play(story: Story, at: number, trouble: Trouble): Promise<TroubledRpcs> {
  const rpcs = new TroubledRpcs(at, trouble);
  await playStory(story, {
    arm: (cluster) => rpcs.arm(cluster),
    moveOn: (cluster) => cluster.pass(45_000),
  });
  return rpcs;
}

describe("whatever goes wrong between a controller and its agents", () => {
  for (const story of stories.filter(({ title }) => !title.startsWith("a pod-"))) {
    for (const trouble of new Set<Trouble>(rpcs.flatMap((rpc) => troubles[rpc]))) {
      it(`${story.title} goes as it should when an RPC is ${trouble}`, async () => {
        const came = new Set<Rpc>();
        const { count } = await play(story, 0, trouble);
        assert.ok(count >= 5 && count <= MOST_RPCS, `${count} RPCs`);
        for (let at = 1; at <= count; at += 1) {
          const { came: rpc } = await play(story, at, trouble);
          if (rpc !== undefined) came.add(rpc);
        }
        assert.deepEqual(came, new Set(rpcsOf(trouble)), "each kind of RPC was in trouble");
      });
    }
  }
});
