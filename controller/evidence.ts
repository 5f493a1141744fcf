import type { Receipts } from "../api/status.ts";
import { type FaultReport, FaultState, type MethodReceipt, type Receipt } from "../proto/gen/agent.ts";
import type { AgentView } from "./agents/sender.ts";

/** What is known of one fault on one target. */
export type Evidence =
  /** There is no pod of that UID any more. */
  | { readonly is: "gone" }
  /** The target is only the other side: nothing is done to it. */
  | { readonly is: "peer" }
  /** The controller did it itself, to the target's object; nothing is counted. */
  | { readonly is: "held"; readonly remark: Remark | undefined }
  | ({ readonly is: "active" } & Effect)
  | ({ readonly is: "lease-ended" } & Effect)
  /** The agent has everything that was sent, and the fault is not there. */
  | ({ readonly is: "absent" } & Partial<Effect>)
  | { readonly is: "refused"; readonly reason: string; readonly message: string }
  | { readonly is: "failed"; readonly reason: string; readonly message: string }
  /** Nothing reached the agent for `forMs`. */
  | { readonly is: "unreachable"; readonly why: string; readonly forMs: number }
  | { readonly is: "pending" };

export interface Remark {
  readonly reason: string;
  readonly message: string;
}

export interface Effect {
  readonly receipts: Receipts;
  readonly interruptions: { readonly count: number; readonly seconds: number };
  /** What keeps a fault in force from its full effect; undefined where nothing does. */
  readonly remark?: Remark | undefined;
  /** Addresses of the fault's host names. */
  readonly resolved: Readonly<Record<string, string[]>>;
}

/** Reason of a fault that an agent is still working on. */
const APPLYING = "Applying";

/** Reads what an agent said of a fault. `nowMs` is monotonic. */
export function readEvidence(view: AgentView | undefined, faultId: string, nowMs: number): Evidence {
  if (view === undefined || view.contact.is === "none") return { is: "pending" };
  if (view.contact.is === "lost") return { is: "unreachable", why: view.contact.why, forMs: nowMs - view.contact.sinceMs };
  const report = view.reports.get(faultId);
  if (report === undefined) return view.isCurrent ? { is: "absent" } : { is: "pending" };
  switch (report.state) {
    case FaultState.ACTIVE:
      return { is: "active", ...effectOf(report) };
    case FaultState.LEASE_ENDED:
      return { is: "lease-ended", ...effectOf(report) };
    case FaultState.ENDED:
      return view.isCurrent ? { is: "absent", ...effectOf(report) } : { is: "pending" };
    case FaultState.REFUSED:
      return { is: "refused", reason: report.reason || "Refused", message: report.message };
    case FaultState.FAILED:
      if (report.reason === APPLYING) return { is: "pending" };
      return { is: "failed", reason: report.reason || "AgentFailed", message: report.message };
    case FaultState.UNSPECIFIED:
    case FaultState.UNRECOGNIZED:
      return { is: "pending" };
  }
}

function effectOf({ receipt, interruptions, interruptedMs, resolved, state, reason, message }: FaultReport): Effect {
  return {
    ...(state === FaultState.ACTIVE && reason !== "" && { remark: { reason, message } }),
    receipts: receiptsOf(receipt),
    interruptions: { count: interruptions, seconds: Math.round(interruptedMs / 100) / 10 },
    resolved: Object.fromEntries(resolved.map(({ name, addresses }) => [name, addresses])),
  };
}

function receiptsOf(receipt: Receipt | undefined): Receipts {
  const {
    matched = 0,
    dropped = 0,
    delayed = 0,
    exempted = 0,
    duplicated = 0,
    corrupted = 0,
    reordered = 0,
    processes = 0,
    oomKills = 0,
    failed = 0,
    falsified = 0,
    methods = [],
    firstMs = 0,
    lastMs = 0,
  } = receipt ?? {};
  return {
    matched,
    dropped,
    delayed,
    exempted,
    ...(duplicated > 0 && { duplicated }),
    ...(corrupted > 0 && { corrupted }),
    ...(reordered > 0 && { reordered }),
    ...(processes > 0 && { processes }),
    ...(oomKills > 0 && { oomKills }),
    ...(failed > 0 && { failed }),
    ...(falsified > 0 && { falsified }),
    ...(methods.length > 0 && { methods: Object.fromEntries(methods.map((one) => [one.method, methodOf(one)])) }),
    ...(firstMs > 0 && { firstTime: new Date(firstMs).toISOString() }),
    ...(lastMs > 0 && { lastTime: new Date(lastMs).toISOString() }),
  };
}

const methodOf = ({ seen, matched, delayed, failed, falsified }: MethodReceipt): NonNullable<Receipts["methods"]>[string] => ({
  seen,
  matched,
  ...(delayed > 0 && { delayed }),
  ...(failed > 0 && { failed }),
  ...(falsified > 0 && { falsified }),
});
