import { parseArgs } from "node:util";
import { createAuthority, openAuthority } from "../../certs/authority.ts";
import { CONTROLLER_URI } from "../../certs/identity.ts";
import { systemClock } from "../../common/clock.ts";
import { silentLog } from "../../common/log.ts";
import { createDial } from "../../controller/agents/dial.ts";
import { Dispatcher, type Wish } from "../../controller/agents/dispatcher.ts";
import { FaultState } from "../../proto/gen/agent.ts";
import { addressOf, forkAgents } from "./agents.ts";
import { readUsage, type Usage } from "./agents-process.ts";

/**
 * `npm run soak [-- --cycles N --agents N]`: the controller's senders against many agents that speak the real protocol with real
 * certificates. Cycles of apply and recovery must leave memory, descriptors and timers as they were; fan-out is timed. Exits with 1 when
 * something grew. What the API server adds is not part of it.
 */
const { values } = parseArgs({ options: { cycles: { type: "string", default: "10000" }, agents: { type: "string", default: "1000" } } });
const cycles = Number(values.cycles);
const agents = Number(values.agents);
const PORT = 19_445;
const say = (line: string): void => void process.stdout.write(`${line}\n`);

const stored = await createAuthority({ now: new Date(), lifetimeMs: 24 * 3_600_000 });
const authority = openAuthority(stored);
const own = await authority.issueClient(CONTROLLER_URI, { now: new Date(), lifetimeMs: 24 * 3_600_000 });

const { ask, end: endAgents } = forkAgents();

const end = new AbortController();
let onChange: () => void = () => undefined;
const dispatcher = new Dispatcher({
  leaderEpoch: 1,
  dial: createDial({ credentials: () => ({ certificate: own.certificate, key: own.key, trusted: authority.certificate }), port: PORT }),
  locate: (uid) => ({ uid, namespace: "soak", address: addressOf(Number(uid.slice(1))) }),
  clock: systemClock,
  log: silentLog,
  signal: end.signal,
  mustLead: () => undefined,
  onPassport: () => undefined,
  onChange: () => onChange(),
});

const owner = { uid: "e", key: "NetworkChaos/soak/e" };
const wishFor = (index: number, isWanted: boolean): Wish => ({
  podUid: `u${index}`,
  faultId: "e/.",
  fault: isWanted
    ? {
        id: "e/.",
        experimentUid: "e",
        experiment: owner.key,
        leaseMs: 60_000,
        deadlineMs: undefined,
        family: { $case: "network", value: { rules: [], engine: 0, affectsProbes: false } },
      }
    : undefined,
});

/** Wishes for the first `count` agents and waits until all of them say that it is so; the time that took. */
async function converge(count: number, isWanted: boolean): Promise<number> {
  const begun = performance.now();
  const isSo = (index: number): boolean => {
    const view = dispatcher.view(`u${index}`);
    const state = view?.reports.get("e/.")?.state;
    return view?.isCurrent === true && (isWanted ? state === FaultState.ACTIVE : state === undefined || state === FaultState.ENDED);
  };
  const { promise, resolve } = Promise.withResolvers<void>();
  let next = 0;
  onChange = () => {
    while (next < count && isSo(next)) next++;
    if (next === count) resolve();
  };
  dispatcher.wish(
    owner,
    Array.from({ length: count }, (_, index) => wishFor(index, isWanted)),
  );
  await promise;
  return performance.now() - begun;
}

say(`Starting ${agents} agents with a certificate each.`);
await ask({
  do: "start",
  namespace: "soak",
  uids: Array.from({ length: agents }, (_, index) => `u${index}`),
  port: PORT,
  authority: stored,
});
dispatcher.open();
await converge(1, true);
await converge(1, false);

for (const count of [...new Set([Math.min(100, agents), agents])]) {
  const used = process.cpuUsage();
  const apply = await converge(count, true);
  const { user, system } = process.cpuUsage(used);
  const recover = await converge(count, false);
  dispatcher.forget(owner.uid);
  say(
    `fan-out to ${count} agents: in force everywhere after ${apply.toFixed(0)} ms (${((user + system) / 1000).toFixed(0)} ms of CPU on the controller's side), recovered after ${recover.toFixed(0)} ms`,
  );
}

const before: Usage[] = [];
const after: Usage[] = [];
const half = Math.max(1, Math.floor(cycles / 2));
for (let cycle = 0; cycle < cycles; cycle++) {
  await converge(1, true);
  await converge(1, false);
  if (cycle === half || cycle === cycles - 1) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    (cycle === half ? before : after).push(readUsage(), (await ask({ do: "usage" })) as Usage);
  }
}
const names = ["controller's side", "agents' side"];
let hasGrown = false;
for (const [index, first] of before.entries()) {
  const last = after[index] ?? first;
  const grown =
    last.heapMb > first.heapMb * 1.1 + 2 ||
    last.rssMb > first.rssMb * 1.1 + 10 ||
    last.descriptors > first.descriptors + 5 ||
    last.timers > first.timers + 5;
  hasGrown ||= grown;
  say(
    `${names[index] ?? ""}, cycle ${half} and ${cycles}: heap ${first.heapMb} and ${last.heapMb} MB, RSS ${first.rssMb} and ${last.rssMb} MB, descriptors ${first.descriptors} and ${last.descriptors}, timers ${first.timers} and ${last.timers}${grown ? ": GREW" : ""}`,
  );
}
end.abort();
await dispatcher.close();
endAgents();
process.exit(hasGrown ? 1 : 0);
