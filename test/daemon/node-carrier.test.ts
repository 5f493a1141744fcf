import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { silentLog } from "../../common/log.ts";
import { createNodeCarrier } from "../../daemon/node-carrier.ts";
import { type NodeFamily, onContainers, type PlacedFault } from "../../daemon/node-family.ts";
import type { FoundContainer } from "../../daemon/runtime/container-runtime.ts";
import type { Fault } from "../../proto/gen/agent.ts";
import { FakeClock } from "../support/fake-clock.ts";

/** A family that remembers what it was told. */
function createFamily(name: NodeFamily["name"], missing?: string) {
  const told: (readonly PlacedFault[])[] = [];
  let tellChange = (): void => undefined;
  const family: NodeFamily = {
    ...onContainers,
    name,
    ...(name === "network" && { actsOn: "pods" as const, resolvedOf: () => [{ name: "db", addresses: ["10.0.0.1"] }] }),
    onChange(callback) {
      tellChange = callback;
    },
    missing,
    converge(faults) {
      told.push(faults);
      return Promise.resolve([]);
    },
    isBusy: false,
    look: () => Promise.resolve(),
    remarkOf: () => undefined,
    receiptOf: (id) => Promise.resolve(told.at(-1)?.some(({ fault }) => fault.id === id) === true ? { processes: 1 } : undefined),
    recover: () => Promise.resolve(),
  };
  return {
    family,
    tellChange: () => tellChange(),
    idsTold: () => told.at(-1)?.map(({ fault, container }) => `${fault.id} in ${container.id}`) ?? [],
  };
}

const stress: Fault["family"] = { $case: "stress", value: { cpu: undefined, memory: undefined, stressngArguments: ["--cpu", "1"] } };
const fault = (id: string, container: string, family: Fault["family"] = stress): Fault => ({
  id,
  experimentUid: "e",
  experiment: "StressChaos/shop/x",
  leaseMs: 60_000,
  target: { podUid: "u1", namespace: "shop", pod: "a", container },
  family,
});

describe("the faults of a node", () => {
  const moment = { remainingMs: () => 1_000, beforeReplacing: () => Promise.resolve() };
  let clock: FakeClock;
  let child: ChildProcess;
  let containers: Map<string, FoundContainer>;
  let outage: Error | undefined;

  const runContainer = (container: string, id: string, pid: number): void =>
    void containers.set(container, { id, podUid: "u1", namespace: "shop", pod: "a", container, pid, startedAtMs: 0 });
  const runtime = {
    find: ({ container }: { readonly container: string }) =>
      outage === undefined ? Promise.resolve(containers.get(container)) : Promise.reject(outage),
    sandboxPid: (podUid: string) => Promise.resolve(podUid === "u1" ? child.pid : undefined),
  };
  const sleeper = (): ChildProcess => spawn("/bin/sleep", ["60"], { stdio: "ignore" });

  beforeEach(() => {
    clock = new FakeClock();
    containers = new Map();
    outage = undefined;
    child = sleeper();
    runContainer("app", "1", child.pid ?? 0);
  });
  afterEach(() => void child.kill("SIGKILL"));

  it("go to their family, each with the container that it is for", async () => {
    const [ours, other] = [createFamily("stress"), createFamily("time")];
    const carrier = createNodeCarrier({ runtime, families: [ours.family, other.family], clock, log: silentLog });
    assert.deepEqual(await carrier.converge([fault("one", "app")], moment), []);
    assert.deepEqual([ours.idsTold(), other.idsTold()], [["one in 1"], []]);
    assert.equal((await carrier.readReceipts(["one"])).get("one")?.processes, 1);
    await carrier.converge([], moment);
    assert.deepEqual([ours.idsTold(), carrier.isIdle], [[], true]);
    await carrier.close();
  });

  it("are on the sandbox of the pod where the family acts on pods, and bring their host names", async () => {
    const { family, idsTold, tellChange } = createFamily("network");
    const carrier = createNodeCarrier({ runtime, families: [family], clock, log: silentLog });
    const cut = fault("cut", "", { $case: "network", value: { rules: [], engine: 0, affectsProbes: false } });
    const gone = { ...cut, id: "gone", target: { podUid: "u2", namespace: "shop", pod: "b", container: "" } };
    const strange = { ...cut, id: "strange", target: { podUid: "u1", namespace: "shop", pod: "a", container: "app" } };
    const refusals = await carrier.converge([cut, gone, strange], moment);
    assert.deepEqual(
      refusals.map(({ faultId, reason, message }) => [faultId, reason, message]),
      [
        ["strange", "InvalidTarget", "The fault does not say which pod it is for."],
        ["gone", "NotRunning", "Pod shop/b does not run now. The fault is applied as soon as it does."],
      ],
    );
    assert.match(idsTold().join(), new RegExp(`^cut in sandbox-${child.pid}-\\d+$`));
    assert.deepEqual(carrier.resolvedOf(cut), [{ name: "db", addresses: ["10.0.0.1"] }]);
    let changes = 0;
    carrier.onChange(() => (changes += 1));
    tellChange();
    assert.equal(changes, 1);
    await carrier.close();
  });

  it("have what they did read before others take their place, and go on without where that fails", async () => {
    const { family } = createFamily("stress");
    const carrier = createNodeCarrier({ runtime, families: [family], clock, log: silentLog });
    let reads = 0;
    const beforeReplacing = () => {
      reads += 1;
      return Promise.reject(new Error("nobody can count"));
    };
    await carrier.converge([fault("one", "app")], { ...moment, beforeReplacing });
    await carrier.converge([fault("one", "app")], { ...moment, beforeReplacing });
    assert.equal(reads, 0);
    assert.deepEqual(await carrier.converge([], { ...moment, beforeReplacing }), []);
    assert.equal(reads, 1);
    await carrier.close();
  });

  it("are refused for good where the node cannot do it, where they name no container, and where their kind is not known", async () => {
    const { family, idsTold } = createFamily("stress", "There is no stress-ng.");
    const carrier = createNodeCarrier({ runtime, families: [family], clock, log: silentLog });
    const refusals = await carrier.converge(
      [
        fault("cannot", "app"),
        fault("nameless", ""),
        fault("unknown", "app", { $case: "network", value: { rules: [], engine: 0, affectsProbes: false } }),
      ],
      moment,
    );
    assert.deepEqual(
      refusals.map(({ faultId, reason, isTransient }) => [faultId, reason, isTransient]),
      [
        ["cannot", "CannotCarry", undefined],
        ["nameless", "InvalidTarget", undefined],
        ["unknown", "NotYetSupported", undefined],
      ],
    );
    assert.deepEqual(
      [idsTold(), carrier.passport.familiesOfFaults, carrier.passport.missing],
      [[], [], ["stress: There is no stress-ng."]],
    );
    await carrier.close();
  });

  it("wait for a container that does not run, and are visited again when it does", async () => {
    const { family } = createFamily("stress");
    const carrier = createNodeCarrier({ runtime, families: [family], clock, log: silentLog });
    let changes = 0;
    carrier.onChange(() => (changes += 1));
    const [refusal] = await carrier.converge([fault("late", "proxy")], moment);
    assert.deepEqual([refusal?.reason, refusal?.isTransient], ["NotRunning", true]);
    await clock.advance(5_000);
    assert.equal(changes, 0);
    runContainer("proxy", "2", child.pid ?? 0);
    await lookUntil(() => changes > 0);
    assert.deepEqual(await carrier.converge([fault("late", "proxy")], moment), []);
    await carrier.close();
  });

  it("follow a container that was started again", async () => {
    const { family, idsTold } = createFamily("stress");
    const carrier = createNodeCarrier({ runtime, families: [family], clock, log: silentLog });
    let changes = 0;
    carrier.onChange(() => (changes += 1));
    await carrier.converge([fault("one", "app")], moment);
    child.kill("SIGKILL");
    await once(child, "close");
    child = sleeper();
    runContainer("app", "2", child.pid ?? 0);
    await lookUntil(() => changes > 0);
    await carrier.converge([fault("one", "app")], moment);
    assert.deepEqual(idsTold(), ["one in 2"]);
    await carrier.close();
  });

  it("stay in force while the container runtime does not answer, and new ones wait for it", async () => {
    const { family, idsTold } = createFamily("stress");
    const carrier = createNodeCarrier({ runtime, families: [family], clock, log: silentLog });
    await carrier.converge([fault("one", "app")], moment);
    outage = new Error("connect ENOENT /host/run/containerd/containerd.sock");
    const refusals = await carrier.converge([fault("one", "app"), fault("two", "proxy")], moment);
    assert.deepEqual(
      refusals.map(({ faultId, reason, isTransient }) => [faultId, reason, isTransient]),
      [["two", "RuntimeUnavailable", true]],
    );
    assert.deepEqual(idsTold(), ["one in 1"]);
    await carrier.close();
  });

  it("come to their end in every family, also when one of them fails", async () => {
    const [failing, well] = [createFamily("time"), createFamily("stress")];
    const finished: string[] = [];
    failing.family.converge = () => Promise.reject(new Error("no such group"));
    well.family.converge = async () => {
      await sleep(20);
      finished.push("stress");
      return [];
    };
    const carrier = createNodeCarrier({ runtime, families: [failing.family, well.family], clock, log: silentLog });
    await assert.rejects(carrier.converge([fault("one", "app")], moment), { name: "NotTakenBackError", message: "no such group" });
    assert.deepEqual(finished, ["stress"]);
    await carrier.close();
  });

  it("are not looked after while they are visited", async () => {
    const { family } = createFamily("stress");
    const course: string[] = [];
    const busy = {
      ...family,
      isBusy: true,
      converge: async () => {
        course.push("visit");
        await sleep(30);
        course.push("visited");
        return [];
      },
      look: async () => {
        course.push("look");
        await sleep(30);
        course.push("looked");
      },
    };
    const carrier = createNodeCarrier({ runtime, families: [busy], clock, log: silentLog });
    await carrier.converge([fault("one", "app")], moment);
    await clock.advance(1_000);
    await carrier.converge([], moment);
    const begins = course.filter((_, index) => index % 2 === 0);
    const ends = course.filter((_, index) => index % 2 === 1);
    assert.deepEqual(
      ends,
      begins.map((begin) => `${begin}ed`),
    );
    assert.ok(begins.includes("look"));
    await carrier.close();
  });

  /** Looks read files of the kernel, which takes real time. */
  async function lookUntil(isDone: () => boolean): Promise<void> {
    for (let turn = 0; turn < 400 && !isDone(); turn += 1) {
      await clock.advance(1_000);
      await sleep(10);
    }
    assert.ok(isDone());
  }
});
