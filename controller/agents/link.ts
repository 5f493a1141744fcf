import type { DesiredFaults, Heartbeat, Report } from "../../proto/gen/agent.ts";

/** Where an agent is and who it must prove to be. */
export interface AgentTarget {
  readonly uid: string;
  readonly namespace: string;
  readonly address: string;
}

/** A connection to one agent; `dial.ts` has the real one, `test/support/fake-agent.ts` a fake that behaves. */
export interface AgentLink {
  /** Throws when there is no answer in time or the agent refuses the call. */
  apply(desired: DesiredFaults): Promise<Report>;
  hold(onReport: (report: Report) => void): HoldStream;
  /** Breaks off what is under way. */
  close(): void;
}

export interface HoldStream {
  beat(heartbeat: Heartbeat): void;
  /** Resolves with the cause when the stream is over, whoever ended it. */
  readonly ended: Promise<Error>;
  close(): void;
}

/** Never throws: what is wrong shows at the first call. */
export type Dial = (target: AgentTarget) => AgentLink;
