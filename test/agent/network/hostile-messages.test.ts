import assert from "node:assert/strict";
import fc from "fast-check";
import { Agent, RefusedError } from "../../../agent/agent.ts";
import { createPlannedCarrier } from "../../../agent/planned-carrier.ts";
import { createExecutor } from "../../../agent/executor.ts";
import { createNetworkFamily } from "../../../agent/network/driver.ts";
import { compileRules, type EngineRules } from "../../../agent/network/engine/rules.ts";
import type { Command } from "../../../agent/plan.ts";
import { silentLog } from "../../../common/log.ts";
import { DesiredFaults, type Fault, FaultState } from "../../../proto/gen/agent.ts";
import { type NetworkFault, type NetworkRule, type Peers, Protocol, type Shape } from "../../../proto/gen/faults.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { networkFault, networks, podFacts, rule } from "../../support/network-faults.ts";

/** Whatever comes over the wire, as long as it is a message at all: fields hold anything that their types can. */

const hostileText = fc.oneof(
  fc.string({ unit: "binary", maxLength: 60 }),
  fc.constantFrom(
    "",
    "10.0.0.1/32",
    "10.0.0.0/8",
    "::/0",
    "eth0",
    "eth0; HOSTILE",
    "-j HOSTILE",
    "a\nadd HOSTILE 0.0.0.0/0",
    "$(HOSTILE)",
    "--HOSTILE",
    "HOSTILE",
    "a".repeat(200),
    "x".repeat(1 << 16),
  ),
);
const whole = fc.oneof(fc.nat({ max: 200 }), fc.constantFrom(0, 1, 2 ** 31, 2 ** 32, 2 ** 53 - 1));
const uint32 = fc.oneof(fc.nat({ max: 70_000 }), fc.constantFrom(0, 2 ** 32 - 1));
const real = fc.oneof(fc.double(), fc.constantFrom(0, 50, 100, 100.1, -1, Number.NaN, Infinity));
/** Numbers go over the wire, known or not. */
const enumeration = fc.constantFrom<-1 | 0 | 1 | 2>(0, 1, 2, -1);
const protocol = fc.constantFrom<-1 | 0 | 1 | 2 | 3>(0, 1, 2, 3, -1);

const peers: fc.Arbitrary<Peers> = fc.record({
  networks: fc.array(fc.oneof(fc.constantFrom("10.0.0.1/32", "10.1.0.0/16", "fd00::/8"), hostileText), { maxLength: 4 }),
  endpoints: fc.array(fc.record({ network: hostileText, port: uint32 }), { maxLength: 3 }),
  hostNames: fc.array(fc.record({ name: hostileText, port: uint32 }), { maxLength: 2 }),
});
const shape: fc.Arbitrary<Shape> = fc.record({
  latencyUs: whole,
  jitterUs: whole,
  lossPercent: real,
  latencyCorrelation: real,
  lossCorrelation: real,
  duplicatePercent: real,
  duplicateCorrelation: real,
  corruptPercent: real,
  corruptCorrelation: real,
  reorder: fc.option(fc.record({ percent: real, correlation: real, gap: whole }), { nil: undefined }),
  rateBitsPerSecond: whole,
  bandwidth: fc.option(
    fc.record({
      rateBitsPerSecond: whole,
      limitBytes: whole,
      bufferBytes: whole,
      peakRateBitsPerSecond: whole,
      minBurstBytes: whole,
    }),
    { nil: undefined },
  ),
});
const hostileRule: fc.Arbitrary<NetworkRule> = fc.record({
  direction: enumeration,
  peers: fc.option(peers, { nil: undefined }),
  except: fc.option(peers, { nil: undefined }),
  device: fc.oneof(fc.constantFrom("", "eth0"), hostileText),
  protocol,
  localPorts: fc.array(fc.record({ first: uint32, last: uint32 }), { maxLength: 3 }),
  peerPorts: fc.array(fc.record({ first: uint32, last: uint32 }), { maxLength: 3 }),
  effect: fc.option(
    fc.oneof(
      fc.constant({ $case: "partition" as const, value: {} }),
      shape.map((value) => ({ $case: "shape" as const, value })),
    ),
    { nil: undefined },
  ),
});
const family: fc.Arbitrary<NetworkFault> = fc.record({
  rules: fc.array(hostileRule, { maxLength: 4 }),
  engine: enumeration,
  affectsProbes: fc.boolean(),
});
const hostileFault: fc.Arbitrary<Fault> = fc.record({
  id: fc.oneof(fc.constantFrom("uid/.", "other/."), hostileText),
  experimentUid: hostileText,
  experiment: hostileText,
  remainingMs: fc.option(whole, { nil: undefined }),
  leaseMs: fc.oneof(fc.constant(60_000), whole),
  family: fc.option(
    family.map((value) => ({ $case: "network" as const, value })),
    { nil: undefined },
  ),
});
const soundRule = rule({
  peers: { ...networks("10.0.0.1/32"), endpoints: [{ network: "10.0.0.2/32", port: 80 }] },
  device: "eth0",
  protocol: Protocol.TCP,
  peerPorts: [{ first: 80, last: 90 }],
});
const soundFault = networkFault("uid/.", [soundRule]);
/** Nonsense in one field gets further than nonsense in all of them. */
const almostSoundFault: fc.Arbitrary<Fault> = fc
  .tuple(hostileRule, fc.constantFrom(...(Object.keys(soundRule) as (keyof NetworkRule)[])))
  .map(([hostile, field]) => networkFault("uid/.", [{ ...soundRule, [field]: hostile[field] }]));
const fault = fc.oneof(hostileFault, almostSoundFault, fc.constant(soundFault));
const sets: fc.Arbitrary<Omit<DesiredFaults, "order">> = fc.record({
  targetUid: fc.oneof({ weight: 9, arbitrary: fc.constant("pod") }, { weight: 1, arbitrary: hostileText }),
  faults: fc.array(fault, { maxLength: 4 }),
});

/** All that may stand in a line of a program's input, or be one of its arguments. */
const HARMLESS = /^[A-Za-z0-9 ./:,!*[\]_+%-]*$/;

function setUp() {
  const commands: Command[] = [];
  const programs = {
    has: () => true,
    startAhead: () => () => undefined,
    run(command: Command) {
      commands.push(command);
      return Promise.resolve({ stdout: "", stderr: "" });
    },
  };
  const clock = new FakeClock();
  const network = createNetworkFamily({
    facts: podFacts({ families: ["ipv4", "ipv6"], noNetem: undefined }),
    programs,
    log: silentLog,
    clock,
    startEngine: () =>
      Promise.resolve({
        setRules: (rules: EngineRules) => Promise.resolve(void compileRules(rules)),
        readCounters: () => Promise.resolve(new Map()),
        readTotals: () => assert.fail("nobody asks"),
        clear: () => Promise.resolve(),
        close: () => Promise.resolve(),
        onDeath: () => undefined,
      }),
    lookup: () => Promise.reject(new Error("no such name")),
    watchDns: () => () => undefined,
  });
  const journal = { leftovers: [], add: () => Promise.resolve(), clear: () => Promise.resolve() };
  const executor = createExecutor({ family: network, programs, journal, log: silentLog });
  const agent = new Agent({
    targetUid: "pod",
    version: "test",
    carrier: createPlannedCarrier({ family: network, executor, log: silentLog }),
    clock,
    log: silentLog,
  });
  return { agent, commands };
}

function assertHarmless(commands: readonly Command[]): void {
  for (const { argv, stdin = "" } of commands) {
    for (const line of [...argv, ...stdin.split("\n")]) {
      assert.match(line, HARMLESS);
      assert.doesNotMatch(line, /HOSTILE/);
    }
  }
}

const states = new Set<FaultState>([FaultState.ACTIVE, FaultState.REFUSED, FaultState.FAILED, FaultState.ENDED, FaultState.LEASE_ENDED]);

/** Applies a message as it would be after the wire; gives how many faults came into force. */
async function applyOne({ agent, commands }: ReturnType<typeof setUp>, desired: DesiredFaults): Promise<number> {
  let report;
  try {
    report = await agent.apply(desired);
  } catch (error) {
    assert.ok(error instanceof RefusedError, String(error));
    return 0;
  }
  assert.deepEqual(
    report.faults.filter(({ state }) => !states.has(state)),
    [],
  );
  assert.deepEqual(new Set(report.faults.map(({ id }) => id)).size, report.faults.length);
  for (const { state, message } of report.faults) {
    assert.ok(message.length < 1_000, `a message of ${message.length} characters`);
    // what time does not mend is refused, not tried again and again
    if (state === FaultState.FAILED) assert.match(message, /cannot be resolved in this pod; it is tried again/);
  }
  assertHarmless(commands);
  return report.faults.filter(({ state }) => state === FaultState.ACTIVE).length;
}

describe("an agent that is sent nonsense", () => {
  it("carries out what makes sense, refuses the rest by its reason, and lets nothing hostile into a command", async () => {
    let active = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(sets, { minLength: 1, maxLength: 4 }), async (messages) => {
        const one = setUp();
        for (const [index, message] of messages.entries()) {
          const wire = DesiredFaults.encode({ ...message, order: { leaderEpoch: 1, generation: index + 1 } }).finish();
          active += await applyOne(one, DesiredFaults.decode(wire));
        }
        await one.agent.close();
        assertHarmless(one.commands);
      }),
      { numRuns: 400 },
    );
    assert.ok(active > 20, `only ${active} faults made sense`);
  });

  it("survives messages whose bytes were changed", async () => {
    const sound = DesiredFaults.encode({
      targetUid: "pod",
      order: { leaderEpoch: 1, generation: 1 },
      faults: [soundFault],
    }).finish();
    const changes = fc.array(fc.record({ at: fc.nat({ max: sound.length - 1 }), byte: fc.nat({ max: 255 }) }), {
      minLength: 1,
      maxLength: 4,
    });
    await fc.assert(
      fc.asyncProperty(changes, fc.nat({ max: sound.length }), fc.boolean(), async (changed, length, isCut) => {
        const bytes = Uint8Array.from(isCut ? sound.slice(0, length) : sound);
        for (const { at, byte } of changed) if (at < bytes.length) bytes[at] = byte;
        let desired;
        try {
          desired = DesiredFaults.decode(bytes);
        } catch {
          return; // gRPC answers such a call with INTERNAL, before the agent hears of it
        }
        await applyOne(setUp(), desired);
      }),
      { numRuns: 500 },
    );
  });
});
