import { Agent } from "../../../agent/agent.ts";
import { createExecutor } from "../../../agent/executor.ts";
import { openJournal } from "../../../agent/journal.ts";
import { createNetworkFamily } from "../../../agent/network/driver.ts";
import { dumpNetwork } from "../../../agent/network/dump.ts";
import { watchDnsAnswers } from "../../../agent/network/dns-watch.ts";
import { startEngine } from "../../../agent/network/engine/engine.ts";
import { readPodFacts } from "../../../agent/network/facts.ts";
import { createLookup } from "../../../agent/network/host-names.ts";
import { findPrograms } from "../../../agent/programs.ts";
import { systemClock } from "../../../common/clock.ts";
import { silentLog } from "../../../common/log.ts";
import type { Fault } from "../../../proto/gen/agent.ts";

/** Runs an agent inside a network namespace, for a test outside of it. */
export type AgentOrder =
  /** `journal`: where undo is written, outlasting this process. */
  | { readonly do: "start"; readonly podIps: readonly string[]; readonly journal: string }
  /** From now on, count the programs, and die right before or after the one of this number. */
  | { readonly do: "die-at"; readonly program: number; readonly when: "before" | "after" }
  | { readonly do: "apply"; readonly faults: readonly Fault[] }
  | { readonly do: "dump" };

/** Target of every order. */
const UID = "pod";

const programs = findPrograms();
let started = 0;
let death: { readonly program: number; readonly when: "before" | "after" } | undefined;
const counted = {
  ...programs,
  run: async (command: Parameters<typeof programs.run>[0]) => {
    started++;
    const isLast = started === death?.program;
    if (isLast && death?.when === "before") process.kill(process.pid, "SIGKILL");
    const result = await programs.run(command);
    if (isLast && death?.when === "after") process.kill(process.pid, "SIGKILL");
    return result;
  },
};
let agent: Agent | undefined;
let generation = 0;

async function obey(order: AgentOrder): Promise<unknown> {
  switch (order.do) {
    case "start": {
      const facts = await readPodFacts(programs, { hostIps: [], podIps: order.podIps, probePorts: [8080], agentPort: 9445 });
      const family = createNetworkFamily({
        facts,
        programs: counted,
        log: silentLog,
        clock: systemClock,
        startEngine,
        lookup: createLookup(""),
        watchDns: watchDnsAnswers,
      });
      const journal = await openJournal(order.journal);
      const executor = createExecutor({ family, programs: counted, journal, log: silentLog });
      agent = new Agent({ targetUid: UID, version: "test", family, executor, clock: systemClock, log: silentLog });
      await agent.start();
      return {};
    }
    case "die-at":
      death = { program: order.program, when: order.when };
      started = 0;
      return {};
    case "apply": {
      const before = started;
      const report = await agent?.apply({ targetUid: UID, order: { leaderEpoch: 1, generation: ++generation }, faults: [...order.faults] });
      return { faults: report?.faults, programs: started - before, engines: report?.passport?.engines };
    }
    case "dump":
      return dumpNetwork(programs);
  }
}

process.on("message", (order: AgentOrder) => {
  obey(order).then(
    (answer) => process.send?.({ answer }),
    (error: unknown) => process.send?.({ error: error instanceof Error ? error.message : String(error) }),
  );
});
// Waits for orders; ends with its parent.
process.on("disconnect", () => process.exit(0));
