import { execFile } from "node:child_process";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { Agent } from "../../../agent/agent.ts";
import { createPlannedCarrier } from "../../../agent/planned-carrier.ts";
import { createExecutor } from "../../../agent/executor.ts";
import { openJournal } from "../../../agent/journal.ts";
import { recoverLeftovers } from "../../../agent/leftovers.ts";
import { createNetworkFamily } from "../../../agent/network/driver.ts";
import { watchDnsAnswers } from "../../../agent/network/dns-watch.ts";
import { type EngineOptions, startEngine } from "../../../agent/network/engine/engine.ts";
import type { NfqueueEngine } from "../../../agent/network/engine/supervise.ts";
import { readPodFacts } from "../../../agent/network/facts.ts";
import { createLookup } from "../../../agent/network/host-names.ts";
import type { Command } from "../../../agent/plan.ts";
import { findPrograms } from "../../../agent/programs.ts";
import { type Clock, systemClock } from "../../../common/clock.ts";
import { silentLog } from "../../../common/log.ts";
import type { Fault } from "../../../proto/gen/agent.ts";
import { readResidue } from "./residue.ts";

/** Runs an agent inside a network namespace, for a test outside of it. */
export type AgentOrder =
  | AgentStart
  /** From now on, count the changes that are made, and stop at the one of this number. */
  | { readonly do: "stop-at"; readonly stop: Stop }
  | { readonly do: "apply"; readonly faults: readonly Fault[] }
  | { readonly do: "beat" }
  /** Everything is taken back, as at the end of a pod. */
  | { readonly do: "close" }
  | { readonly do: "report" }
  /** All that a fault could leave behind, see `residue.ts`. */
  | { readonly do: "residue" };

export interface AgentStart {
  readonly do: "start";
  readonly podIps: readonly string[];
  /** Where undo is written, outlasting this process. */
  readonly journal: string;
  readonly stop?: Stop | undefined;
  /** Puts a file system of this kind under the journal, which only this process sees. */
  readonly disk?: "full" | "read-only" | undefined;
  /** The wall clock is set anew at each look at it, by so many milliseconds either way. */
  readonly wallClockJumpsMs?: number | undefined;
}

/** Where an agent's process ends or stands still, by a signal that it gives itself. */
export interface Stop {
  readonly change: number;
  /** "within": the program got half of its input, and no more. */
  readonly when: "before" | "within" | "after";
  readonly signal: "SIGKILL" | "SIGSTOP";
}

/** One change of the kernel or of the journal. */
export interface Change {
  readonly what: string;
  readonly canBeHalf: boolean;
}

/** Target of every order. */
const UID = "pod";

const programs = findPrograms();
const changes: Change[] = [];
let stop: Stop | undefined;

async function change<R>(what: string, act: () => Promise<R>, half?: () => Promise<unknown>): Promise<R> {
  changes.push({ what, canBeHalf: half !== undefined });
  const isHere = changes.length === stop?.change;
  const stopIf = (when: Stop["when"]): void => {
    if (isHere && stop?.when === when) process.kill(process.pid, stop.signal);
  };
  stopIf("before");
  if (isHere && stop?.when === "within") await half?.().catch(() => undefined); // half of a restore may well be none
  stopIf("within");
  try {
    return await act();
  } finally {
    stopIf("after");
  }
}

const changesSomething = ({ argv, stdin }: Command): boolean => stdin !== undefined || argv.includes("add") || argv.includes("del");

const counted: typeof programs = {
  ...programs,
  run(command) {
    if (!changesSomething(command)) return programs.run(command);
    const lines = (command.stdin ?? "").split("\n");
    const half = { ...command, stdin: `${lines.slice(0, lines.length >> 1).join("\n")}\n` };
    return change(command.argv.join(" "), () => programs.run(command), lines.length > 2 ? () => programs.run(half) : undefined);
  },
};

const engineEnds: Promise<void>[] = [];

async function startKnownEngine(options: EngineOptions): Promise<NfqueueEngine> {
  const engine = await startEngine(options);
  const ended = Promise.withResolvers<void>();
  engineEnds.push(ended.promise);
  engine.onDeath(() => ended.resolve());
  return { ...engine, close: () => engine.close().finally(() => ended.resolve()) };
}

const jumpingClock = (byMs: number): Clock => ({
  ...systemClock,
  now: () => new Date(Date.now() + byMs * (Math.floor(Math.random() * 3) - 1)),
});

let agent: Agent | undefined;
let generation = 0;
let folder = "";

async function start({ podIps, journal: path, stop: wanted, disk, wallClockJumpsMs }: AgentStart): Promise<void> {
  stop = wanted;
  folder = dirname(path);
  if (disk !== undefined) await mountBadDisk(folder, disk);
  const clock = wallClockJumpsMs === undefined ? systemClock : jumpingClock(wallClockJumpsMs);
  const facts = await readPodFacts(counted, { hostIps: [], podIps, probePorts: [8080], agentPort: 9445 });
  const family = createNetworkFamily({
    facts,
    programs: counted,
    log: silentLog,
    clock,
    startEngine: startKnownEngine,
    engineRest: { unusedMs: 20, usedMs: 20 },
    lookup: createLookup(""),
    watchDns: watchDnsAnswers,
  });
  const opened = await openJournal(path);
  const journal = {
    ...opened,
    add: (undos: readonly Command[]) => change("journal: add", () => opened.add(undos)),
    clear: () => change("journal: clear", () => opened.clear()),
  };
  await recoverLeftovers({ journal, programs: counted, sweep: () => family.sweep(), log: silentLog });
  const executor = createExecutor({
    family: { ...family, runEngine: (rules) => change("engine", () => family.runEngine(rules)) },
    programs: counted,
    journal,
    log: silentLog,
  });
  agent = new Agent({
    targetUid: UID,
    version: "test",
    carrier: createPlannedCarrier({ family, executor, log: silentLog }),
    clock,
    log: silentLog,
  });
}

/** `ip netns exec` gave this process a mount namespace of its own: nothing is left of it afterwards. */
async function mountBadDisk(at: string, disk: "full" | "read-only"): Promise<void> {
  const run = promisify(execFile);
  await run("mount", ["-t", "tmpfs", "-o", disk === "full" ? "size=4k" : "ro", "squall-test", at]);
  if (disk === "full") await run("dd", ["if=/dev/zero", `of=${at}/ballast`, "bs=4096", "count=1"]);
}

async function obey(order: AgentOrder): Promise<unknown> {
  switch (order.do) {
    case "start":
      await start(order);
      return changes;
    case "stop-at":
      stop = order.stop;
      changes.length = 0;
      return {};
    case "apply": {
      const before = changes.length;
      const report = await agent?.apply({ targetUid: UID, order: { leaderEpoch: 1, generation: ++generation }, faults: [...order.faults] });
      return { faults: report?.faults, changes: changes.slice(before), engines: report?.passport?.engines };
    }
    case "beat": {
      const before = changes.length;
      await agent?.heartbeat({ targetUid: UID, leaderEpoch: 1 });
      return changes.slice(before);
    }
    case "close": {
      const before = changes.length;
      await agent?.close();
      return changes.slice(before);
    }
    case "report":
      return agent?.report().faults;
    case "residue":
      await Promise.all(engineEnds); // one without rules is kept for a moment
      return readResidue(programs, folder);
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
