import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
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
  | { readonly do: "start"; readonly podIps: readonly string[] }
  | { readonly do: "apply"; readonly faults: readonly Fault[] }
  | { readonly do: "dump" };

/** Target of every order. */
const UID = "pod";

const programs = findPrograms();
let started = 0;
const counted = {
  ...programs,
  run: (command: Parameters<typeof programs.run>[0]) => {
    started++;
    return programs.run(command);
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
      const journal = await openJournal(join(mkdtempSync(join(tmpdir(), "squall-agent-")), "journal"));
      const executor = createExecutor({ family, programs: counted, journal, log: silentLog });
      agent = new Agent({ targetUid: UID, version: "test", family, executor, clock: systemClock, log: silentLog });
      await agent.start();
      return {};
    }
    case "apply": {
      started = 0;
      const report = await agent?.apply({ targetUid: UID, order: { leaderEpoch: 1, generation: ++generation }, faults: [...order.faults] });
      return { faults: report?.faults, programs: started, engines: report?.passport?.engines };
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
