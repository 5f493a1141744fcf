import { answerOrders } from "./orders.ts";
import { readUsage } from "./usage.ts";

/** Loaded into a process of ours by `--import`, so that its parent may ask what it holds, and the process knows nothing of it. */
answerOrders(() => readUsage());
