/** What a traffic process (traffic-process.ts) can be asked to do, and what it answers. */
export type TrafficOrder =
  /** Takes datagrams and notes each; answers with the port. */
  | { readonly do: "listen-udp" }
  /** Sends numbered datagrams: `burst` of them every `gapMs`. Answers with errors of send. */
  | {
      readonly do: "send-udp";
      readonly to: string;
      /** Further addresses of its family, sent to in turn. */
      readonly others?: readonly string[];
      readonly port: number;
      readonly count: number;
      readonly bytes: number;
      readonly gapMs: number;
      readonly burst: number;
      /** Over this many sockets in turn: what one socket may have under way is bounded by its send buffer. */
      readonly sockets: number;
    }
  /** Gives what came since the last time, in the order in which it came. */
  | { readonly do: "take-arrivals" }
  /** The same, once there are so many, or the time is over; copies of the last one have a moment to come, too. */
  | { readonly do: "await-arrivals"; readonly count: number; readonly withinMs: number }
  /** Takes connections and answers each, at its end, with the SHA-256 of what it read. Answers with the port. */
  | { readonly do: "listen-tcp" }
  | { readonly do: "send-tcp"; readonly to: string; readonly port: number; readonly bytes: number };

export interface Arrival {
  readonly number: number;
  readonly delayMs: number;
  /** Bytes that are not what the sender wrote, or a wrong length. */
  readonly isDamaged: boolean;
}

export interface TrafficAnswer {
  /** The longest that this process had to wait for its turn, since it sent or last gave what came: so much of a delay may be its own. */
  readonly lagMs?: number;
  readonly port?: number;
  readonly errors?: readonly string[];
  readonly arrivals?: readonly Arrival[];
  /** Of a TCP transfer: what was sent and what the other side read. */
  readonly sentHash?: string;
  readonly readHash?: string;
  readonly seconds?: number;
}
