import { answerOrders } from "./orders.ts";
import { countTimers, readUsage } from "./usage.ts";

/** Loaded into a process of ours by `--import`, so that its parent may ask what it holds, and the process knows nothing of it. */
export interface ProbeOrder {
  readonly tell: "usage" | "timers";
}

answerOrders((order) => ((order as ProbeOrder).tell === "timers" ? countTimers() : readUsage()));
