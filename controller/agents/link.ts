import type {
  ContainerKillReply,
  ContainerRequest,
  DesiredFaults,
  DetachedVolumes,
  Heartbeat,
  NodeRequest,
  Report,
} from "../../proto/gen/agent.ts";

/** Where an agent is and who it must prove to be. */
export interface AgentTarget {
  /** UID of the pod whose sidecar it is, or node/NAME. */
  readonly uid: string;
  /** The one URI that its certificate names. */
  readonly uri: string;
  readonly address: string;
}

/** A connection to one agent; `dial.ts` has the real one, `test/support/fake-agent.ts` a fake that behaves. */
export interface AgentLink {
  /** Throws when there is no answer in time or the agent refuses the call. */
  apply(desired: DesiredFaults): Promise<Report>;
  hold(onReport: (report: Report) => void): HoldStream;
  /** Has a daemon end a container; throws as `apply` does. */
  killContainer(request: ContainerRequest): Promise<ContainerKillReply>;
  /** Has a daemon take volumes off its node, as Squall is uninstalled; throws as `apply` does. */
  detachVolumes(request: NodeRequest): Promise<DetachedVolumes>;
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
