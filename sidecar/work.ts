import { readFile } from "node:fs/promises";
import { Agent } from "../agent/agent.ts";
import { createExecutor } from "../agent/executor.ts";
import type { Journal } from "../agent/journal.ts";
import { createNetworkFamily } from "../agent/network/driver.ts";
import { watchDnsAnswers } from "../agent/network/dns-watch.ts";
import { startEngine } from "../agent/network/engine/engine.ts";
import type { CompiledClass } from "../agent/network/explain.ts";
import type { PodFacts } from "../agent/network/facts.ts";
import { createLookup } from "../agent/network/host-names.ts";
import { createJointCarrier } from "../agent/joint-carrier.ts";
import { createPlannedCarrier } from "../agent/planned-carrier.ts";
import type { Programs } from "../agent/programs.ts";
import { type AgentServer, createAgentServer } from "../agent/server.ts";
import type { Wakefulness } from "../agent/wakefulness.ts";
import type { ExplainedOperations } from "../api/pod-explanation.ts";
import type { ServerIdentity } from "../certs/grpc-server-credentials.ts";
import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import { VERSION } from "../common/version.ts";
import { DesiredFaults, type Fault, FaultState, type Passport, type Report } from "../proto/gen/agent.ts";
import type { VisitExplanation } from "./explanation.ts";
import { createFileCarrier } from "./files/file-carrier.ts";
import type { FileServers } from "./files/file-servers.ts";

/** What a sidecar has in memory from its first call or fault on. */
export interface Work {
  readonly agent: Agent;
  readonly server: AgentServer;
  readonly decodeDesired: (bytes: Uint8Array) => DesiredFaults;
}

export interface WorkOptions {
  readonly podUid: string;
  readonly facts: PodFacts;
  /** What can be done here, now. */
  readonly passport: () => Passport;
  readonly servers: FileServers;
  readonly programs: Programs;
  readonly journal: Journal;
  readonly identity: ServerIdentity;
  readonly wakefulness: Pick<Wakefulness, "stoodStill">;
  /** Called after each visit to the kernel. */
  readonly onVisited: (explanation: VisitExplanation) => void;
  readonly clock: Clock;
  readonly log: Log;
}

export async function startWork(options: WorkOptions): Promise<Work> {
  const { facts, passport, programs, journal, clock, log } = options;
  const family = createNetworkFamily({
    facts,
    programs,
    log,
    clock,
    startEngine,
    lookup: createLookup(await readFile("/etc/resolv.conf", "utf8").catch(() => "")), // without one, names are asked for as they are
    watchDns: watchDnsAnswers,
  });
  const executor = createExecutor({ family, programs, log, journal });
  const agent = new Agent({
    targetUid: options.podUid,
    version: VERSION,
    carrier: createJointCarrier({
      parts: [
        { families: ["network"], carrier: createPlannedCarrier({ family, executor, log }) },
        { families: ["io"], carrier: createFileCarrier({ servers: options.servers, passport, clock, log }) },
      ],
      passport,
      log,
    }),
    clock,
    log,
    onVisited: (report, wanted, compiled) => {
      const [classes, operations] = compiled as readonly [CompiledClass[], ExplainedOperations[]]; // of the parts above, in their order
      options.onVisited({ version: VERSION, passport: passport(), faults: describeFaults(report, wanted), classes, operations });
    },
  });
  const server = createAgentServer({ agent, identity: options.identity, wakefulness: options.wakefulness, log });
  const needsEngine = facts.noNetem !== undefined && facts.noNfqueue === undefined;
  return {
    agent,
    server: {
      ...server,
      serve(connection) {
        if (needsEngine) family.warmUpEngine(); // whoever calls wants something, and has a handshake to make first
        server.serve(connection);
      },
    },
    decodeDesired: (bytes) => DesiredFaults.decode(bytes),
  };
}

function describeFaults({ faults }: Report, wanted: readonly Fault[]): VisitExplanation["faults"] {
  const experimentOf = new Map(wanted.map(({ id, experiment }) => [id, experiment]));
  const stateNames = Object.fromEntries(Object.entries(FaultState).map(([name, value]) => [value, name]));
  return faults
    .filter(({ state }) => state !== FaultState.ENDED)
    .map(({ id, state, reason, message }) => ({
      id,
      experiment: experimentOf.get(id) ?? id,
      state: stateNames[state] ?? "UNKNOWN",
      reason,
      message,
    }));
}
