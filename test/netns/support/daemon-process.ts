import { Agent } from "../../../agent/agent.ts";
import { systemClock } from "../../../common/clock.ts";
import { silentLog } from "../../../common/log.ts";
import { createNetworkFaults } from "../../../daemon/network/network-faults.ts";
import { createPodNetworks } from "../../../daemon/network/pod-networks.ts";
import { findWhatJoiningLacks } from "../../../daemon/network/probe.ts";
import { createNodeCarrier } from "../../../daemon/node-carrier.ts";
import type { Fault, FaultReport, Report } from "../../../proto/gen/agent.ts";

/** A daemon as far as late join goes: all of it but the controller and the container runtime. */
export type DaemonOrder =
  /** Takes back what an earlier life left. */
  | { readonly do: "start"; readonly main: string; readonly stateFolder: string; readonly sandboxPids: Readonly<Record<string, number>> }
  | { readonly do: "apply"; readonly faults: readonly Fault[] }
  /** Answers with what is known of the faults. */
  | { readonly do: "report" }
  /** Removes everything from a pod's network. */
  | { readonly do: "sweep"; readonly podUid: string; readonly isDue: boolean }
  | { readonly do: "close" };

const UID = "node/here";
let agent: Agent | undefined;
let networks: ReturnType<typeof createPodNetworks> | undefined;
let latest: Report | undefined;
let generation = 0;

async function start({ main, stateFolder, sandboxPids }: Extract<DaemonOrder, { do: "start" }>): Promise<string | undefined> {
  const runtime = {
    find: () => Promise.resolve(undefined),
    sandboxPid: (podUid: string) => Promise.resolve(sandboxPids[podUid]),
  };
  const missing = await findWhatJoiningLacks();
  networks = createPodNetworks({ runtime, stateFolder, hostIps: [], main, logLevel: "error", clock: systemClock });
  const network = createNetworkFaults({ networks, missing, clock: systemClock, log: silentLog });
  const carrier = createNodeCarrier({ runtime, families: [network], clock: systemClock, log: silentLog });
  agent = new Agent({ targetUid: UID, version: "test", carrier, clock: systemClock, log: silentLog });
  agent.watch((report) => {
    latest = report;
  });
  await network.recover();
  return missing;
}

async function obey(order: DaemonOrder): Promise<unknown> {
  switch (order.do) {
    case "start":
      return start(order);
    case "apply":
      latest = await agent?.apply({ targetUid: UID, order: { leaderEpoch: 1, generation: ++generation }, faults: [...order.faults] });
      return latest?.faults;
    case "report":
      return (latest?.faults ?? []) satisfies readonly FaultReport[];
    case "sweep":
      return networks?.sweep(order.podUid, () => Promise.resolve(order.isDue));
    case "close":
      await agent?.close();
      return undefined;
  }
}

process.on("message", (order: DaemonOrder) => {
  obey(order).then(
    (answer) => process.send?.({ answer }),
    (error: unknown) => process.send?.({ error: error instanceof Error ? error.message : String(error) }),
  );
});
process.on("disconnect", () => process.exit(0));
