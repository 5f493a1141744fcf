import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createExecutor } from "../agent/executor.ts";
import { openJournal } from "../agent/journal.ts";
import { createNetworkFamily } from "../agent/network/driver.ts";
import { startEngine } from "../agent/network/engine/engine.ts";
import { readPodFacts } from "../agent/network/facts.ts";
import { createLookup } from "../agent/network/host-names.ts";
import { emptyPlan } from "../agent/plan.ts";
import { findPrograms } from "../agent/programs.ts";
import { systemClock } from "../common/clock.ts";
import { silentLog } from "../common/log.ts";
import type { Fault } from "../proto/gen/agent.ts";
import { networkFault, networks, rule, shape } from "../test/support/network-faults.ts";
import { median } from "../test/support/statistics.ts";

/** Runs inside a network namespace for bench/network-apply.ts: prints one line of JSON with medians in ms and numbers of processes. */

const ROUNDS = 15;
const ADDRESSES = Array.from({ length: 50 }, (_, index) => `10.77.0.${index + 1}`);
const peers = networks(...ADDRESSES.map((address) => `${address}/32`));
const cases: Readonly<Record<string, Fault>> = {
  "plain delay": networkFault("uid/.", [rule({ effect: shape({ latencyUs: 100_000 }) })]),
  "delay to 50 addresses": networkFault("uid/.", [rule({ peers, effect: shape({ latencyUs: 100_000 }) })]),
  "partition from 50 addresses": networkFault("uid/.", [rule({ peers })]),
};

const timed = async (act: () => Promise<unknown>): Promise<number> => {
  const begun = performance.now();
  await act();
  return performance.now() - begun;
};

const programs = findPrograms();
let started = 0;
const counted = {
  ...programs,
  run: (command: Parameters<typeof programs.run>[0]) => {
    started++;
    return programs.run(command);
  },
};

const facts = await readPodFacts(programs, { hostIps: ["10.77.1.1"], podIps: ["10.77.1.2"], probePorts: [8080], agentPort: 9445 });
const backend = facts.iptables;

async function measureOurs(fault: Fault) {
  const family = createNetworkFamily({
    facts,
    programs: counted,
    log: silentLog,
    clock: systemClock,
    startEngine,
    lookup: createLookup(""),
    watchDns: () => () => undefined,
  });
  const folder = mkdtempSync(join(tmpdir(), "squall-bench-"));
  const executor = createExecutor({ family, programs: counted, log: silentLog, journal: await openJournal(join(folder, "journal")) });
  const plan = family.plan([fault]);
  const clock = () => family.planClock([{ fault, remainingMs: 60_000 }]);
  const applies: number[] = [];
  const recovers: number[] = [];
  let processes = 0;
  for (let round = 0; round < ROUNDS; round++) {
    started = 0;
    applies.push(await timed(() => executor.converge(plan, clock)));
    processes = started;
    recovers.push(await timed(() => executor.converge(emptyPlan, () => undefined)));
  }
  // as if the call had brought the fault with it, and no handshake before it had given time to start the engine
  const colds: number[] = [];
  for (let round = 0; round < ROUNDS && plan.steps.some((step) => step.do === "engine"); round++) {
    await family.close();
    colds.push(await timed(() => executor.converge(plan, clock)));
    await executor.converge(emptyPlan, () => undefined);
  }
  // the same input without journal, engine and executor
  const commands = plan.steps.flatMap((step) => (step.do === "run" ? [step] : []));
  const bare: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    bare.push(
      await timed(async () => {
        for (const { command } of commands) await programs.run(command);
      }),
    );
    for (const { undo } of commands.toReversed()) await programs.run(undo);
  }
  await family.close();
  rmSync(folder, { recursive: true });
  const cold = colds.length === 0 ? undefined : median(colds);
  return { apply: median(applies), cold, recover: median(recovers), processes, bare: median(bare) };
}

/** One process for each command, as the daemon of Chaos Mesh starts them; what this kernel lacks (netem, prio, sfq) fails and is counted. */
async function runOne(argv: readonly string[]): Promise<void> {
  const [program = "", ...parameters] = argv;
  await new Promise((resolve) => spawn(program, parameters, { stdio: "ignore" }).once("close", resolve).once("error", resolve));
}

/** The sequences of its FlushIPSets, SetIptablesChains and SetTcs; see the source, pkg/chaosdaemon, and docs/benchmarks.md. */
function upstreamSequence(name: string): readonly (readonly string[])[] {
  const hasSets = name !== "plain delay";
  const iptables = (...parameters: readonly string[]): readonly string[] => [`iptables-${backend}`, "-w", ...parameters];
  const sets = ["net", "netport", "set"].map(
    (kind) => [`b_${kind}_x`, { net: ["hash:net"], netport: ["hash:net,port"], set: ["list:set"] }[kind] ?? []] as const,
  );
  const flush = sets.flatMap(([set, type]) => [
    ["ipset", "create", `${set}old`, ...type],
    ...(set === "b_net_x" ? ADDRESSES.map((address) => ["ipset", "add", `${set}old`, `${address}/32`]) : []),
    ["ipset", "rename", `${set}old`, set],
  ]);
  const fillList = ["b_net_x", "b_netport_x"].map((member) => ["ipset", "add", "b_set_x", member]);
  const chains = ["INPUT", "OUTPUT"].flatMap((chain) => [
    iptables("-N", `CHAOS-${chain}`),
    iptables("-F", `CHAOS-${chain}`),
    iptables("-S", chain),
    iptables("-A", chain, "-j", `CHAOS-${chain}`),
  ]);
  const drop = [
    iptables("-N", "OUTPUT/x_"),
    iptables("-F", "OUTPUT/x_"),
    iptables("-S", "CHAOS-OUTPUT"),
    iptables("-A", "CHAOS-OUTPUT", "-j", "OUTPUT/x_"),
    iptables("-S", "OUTPUT/x_"),
    iptables("-A", "OUTPUT/x_", "-o", "eth0", "-m", "set", "--match-set", "b_set_x", "dst,dst", "-j", "DROP", "-w", "5"),
  ];
  const clearTc = [
    ["ip", "-j", "addr", "show"],
    ["tc", "qdisc", "del", "dev", "lo", "root"],
    ["tc", "qdisc", "del", "dev", "eth0", "root"],
  ];
  const netem = ["netem", "delay", "100ms", "0ms"];
  const plainTc = [["tc", "qdisc", "add", "dev", "eth0", "root", "handle", "1:", ...netem]];
  const filteredTc = [
    ["tc", "qdisc", "add", "dev", "eth0", "root", "handle", "1:", "prio", "bands", "4"],
    ...[1, 2, 3].map((band) => ["tc", "qdisc", "add", "dev", "eth0", "parent", `1:${band}`, "handle", `${band + 1}:`, "sfq"]),
    ["tc", "qdisc", "add", "dev", "eth0", "parent", "1:4", "handle", "5:", ...netem],
    iptables("-N", "TC-TABLES-0"),
    iptables("-F", "TC-TABLES-0"),
    iptables("-S", "CHAOS-OUTPUT"),
    iptables("-A", "CHAOS-OUTPUT", "-j", "TC-TABLES-0"),
    iptables("-S", "TC-TABLES-0"),
    iptables(
      "-A",
      "TC-TABLES-0",
      "-o",
      "eth0",
      "-m",
      "set",
      "--match-set",
      "b_set_x",
      "dst,dst",
      "-j",
      "CLASSIFY",
      "--set-class",
      "1:4",
      "-w",
      "5",
    ),
  ];
  if (!hasSets) return [...chains, ...clearTc, ...plainTc];
  return [...flush, ...fillList, ...chains, ...(name.startsWith("partition") ? [...drop, ...clearTc] : [...clearTc, ...filteredTc])];
}

async function measureUpstream(name: string) {
  const sequence = upstreamSequence(name);
  const times: number[] = [];
  for (let round = 0; round < 5; round++) {
    times.push(
      await timed(async () => {
        for (const argv of sequence) await runOne(argv);
      }),
    );
    await runOne(["tc", "qdisc", "del", "dev", "eth0", "root"]);
    for (const table of ["filter", "mangle"]) {
      await runOne([`iptables-${backend}`, "-t", table, "-F"]);
      await runOne([`iptables-${backend}`, "-t", table, "-X"]);
    }
    await runOne(["ipset", "destroy"]);
  }
  return { upstream: median(times), upstreamProcesses: sequence.length };
}

const spawns: number[] = [];
for (let round = 0; round < ROUNDS; round++) spawns.push(await timed(() => runOne(["true"])));
const results: Record<string, object> = {};
for (const [name, fault] of Object.entries(cases)) results[name] = { ...(await measureOurs(fault)), ...(await measureUpstream(name)) };
process.stdout.write(`${JSON.stringify({ spawn: median(spawns), results })}\n`);
process.exit(0);
