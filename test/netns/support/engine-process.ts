import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { packetMark } from "../../../common/names.ts";
import { silentLog } from "../../../common/log.ts";
import { startEngine } from "../../../agent/network/engine/engine.ts";
import type { NfqueueEngine } from "../../../agent/network/engine/supervise.ts";
import type { EngineRules } from "../../../agent/network/engine/rules.ts";

/** Runs an engine inside a network namespace, for a test outside of it. */
export type EngineOrder =
  | { readonly do: "start"; readonly maxHeldBytes?: number | undefined }
  | { readonly do: "set-rules"; readonly rules: EngineRules }
  | { readonly do: "read-counters" }
  | { readonly do: "read-totals" }
  | { readonly do: "read-memory" }
  | { readonly do: "read-deaths" }
  /** Takes the engine's sockets away underneath it, so that its thread fails. */
  | { readonly do: "break" }
  | { readonly do: "close" };

const NETLINK_NETFILTER = "12";

let engine: NfqueueEngine | undefined;
const deaths: string[] = [];

async function obey(order: EngineOrder): Promise<unknown> {
  switch (order.do) {
    case "start":
      engine = await startEngine({ mark: packetMark, log: silentLog, maxHeldBytes: order.maxHeldBytes });
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
    case "break":
      return closeNetlinkSockets();
    case "close":
      await engine?.close();
      return {};
  }
}

/** Puts /dev/null where the netlink sockets were, as far as a program without dup2 can: the next free number is the one just closed. */
function closeNetlinkSockets(): number {
  const sockets = readFileSync("/proc/self/net/netlink", "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/));
  const inodes = new Set(sockets.filter(([, protocol]) => protocol === NETLINK_NETFILTER).map((columns) => columns.at(-1)));
  let closed = 0;
  for (const fd of readdirSync("/proc/self/fd")) {
    const target = readLink(`/proc/self/fd/${fd}`);
    if (!inodes.has(/^socket:\[(\d+)\]$/.exec(target)?.[1])) continue;
    closeSync(Number(fd));
    openSync("/dev/null", "r");
    closed++;
  }
  return closed;
}

function readLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ""; // the descriptor that listed the folder is gone by now
  }
}

process.on("message", (order: EngineOrder) => {
  obey(order).then(
    (answer) => process.send?.({ answer }),
    (error: unknown) => process.send?.({ error: error instanceof Error ? error.message : String(error) }),
  );
});
process.on("disconnect", () => process.exit(0));
