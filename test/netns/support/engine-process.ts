import { packetMark } from "../../../common/names.ts";
import { silentLog } from "../../../common/log.ts";
import { type NfqueueEngine, startEngine } from "../../../agent/network/engine/engine.ts";
import type { EngineRules } from "../../../agent/network/engine/rules.ts";

/** Runs an engine inside a network namespace, for a test outside of it. */
export type EngineOrder =
  | { readonly do: "start"; readonly queue: number; readonly maxHeldBytes?: number | undefined }
  | { readonly do: "set-rules"; readonly rules: EngineRules }
  | { readonly do: "read-counters" }
  | { readonly do: "read-totals" }
  | { readonly do: "read-memory" }
  | { readonly do: "read-deaths" }
  | { readonly do: "close" };

let engine: NfqueueEngine | undefined;
const deaths: string[] = [];

async function obey(order: EngineOrder): Promise<unknown> {
  switch (order.do) {
    case "start":
      engine = await startEngine({ queue: order.queue, mark: packetMark, log: silentLog, maxHeldBytes: order.maxHeldBytes });
      engine.onDeath((reason) => deaths.push(reason.message));
      return {};
    case "set-rules":
      await engine?.setRules(order.rules);
      return {};
    case "read-counters":
      return Object.fromEntries((await engine?.readCounters()) ?? []);
    case "read-totals":
      return engine?.readTotals();
    case "read-memory":
      return process.memoryUsage();
    case "read-deaths":
      return deaths;
    case "close":
      await engine?.close();
      return {};
  }
}

process.on("message", (order: EngineOrder) => {
  obey(order).then(
    (answer) => process.send?.({ answer }),
    (error: unknown) => process.send?.({ error: error instanceof Error ? error.message : String(error) }),
  );
});
process.on("disconnect", () => process.exit(0));
