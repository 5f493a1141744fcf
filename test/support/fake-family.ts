import type { FaultFamily, FaultInForce } from "../../agent/family.ts";
import type { Command, Plan } from "../../agent/plan.ts";
import type { Programs } from "../../agent/programs.ts";
import type { Clock } from "../../common/clock.ts";
import type { Fault, Passport, Receipt } from "../../proto/gen/agent.ts";

/** A kernel that remembers what is in force: lines of set-up, and until when its own clock lets each fault have an effect. */
export class FakeKernel implements Pick<Programs, "startAhead" | "run"> {
  readonly #clock: Clock;
  /** What is set up, whether or not its time is over. */
  readonly state = new Set<string>();
  /** Monotonic milliseconds until which each fault has an effect. */
  readonly gates = new Map<string, number>();
  readonly commands: string[] = [];
  /** Makes the next commands that contain this text fail. */
  failOn: string | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Fault ids that have an effect at this moment. */
  get inForce(): readonly string[] {
    if (!this.state.has("jump")) return [];
    return [...this.gates].filter(([id, untilMs]) => this.state.has(`rule ${id}`) && untilMs > this.#clock.monotonicMs()).map(([id]) => id);
  }

  startAhead(): () => void {
    return () => undefined;
  }

  run({ argv, stdin = "" }: Command): Promise<{ readonly stdout: string; readonly stderr: string }> {
    this.commands.push(argv.join(" "));
    if (this.failOn !== undefined && `${argv.join(" ")} ${stdin}`.includes(this.failOn))
      return Promise.reject(new Error(`${argv[0]} exited with 1`));
    for (const line of stdin.split("\n").filter((text) => text !== "")) {
      const [verb = "", ...rest] = line.split(" ");
      const what = rest.join(" ");
      if (verb === "add") this.state.add(what);
      else if (verb === "flush") for (const entry of this.state) if (entry.startsWith("rule ")) this.state.delete(entry);
      if (verb === "del") this.state.delete(what);
      if (verb === "clock") this.gates.set(rest[0] ?? "", this.#clock.monotonicMs() + Number(rest[1]));
    }
    return Promise.resolve({ stdout: "", stderr: "" });
  }

  /** What a sweep leaves: nothing. */
  clear(): void {
    this.state.clear();
    this.gates.clear();
  }
}

export const emptyPassport: Passport = {
  engines: [],
  missing: [],
  iptables: "nft",
  families: ["ipv4"],
  devices: ["eth0"],
  volumes: [],
  hasIfb: false,
  hasMeshRedirect: false,
  hasBpf: false,
  familiesOfFaults: ["network"],
};

const isBad = (id: string): boolean => /^bad(?:-|$)/.test(id);
const lines = (texts: readonly string[]): string => `${texts.join("\n")}\n`;

/** A family whose faults are lines in a FakeKernel; ids such as "bad" and "bad-1" are refused, which no UID is. */
export function createFakeFamily(
  kernel: FakeKernel,
): FaultFamily & { readonly dieOfEngine: (reason: Error) => void; readonly receipts: Map<string, Receipt> } {
  let onDeath: (reason: Error) => void = () => undefined;
  const receipts = new Map<string, Receipt>();
  return {
    name: "network",
    receipts,
    passport: emptyPassport,
    prepare: () => Promise.resolve(),
    onChange: () => undefined,
    resolvedOf: () => [],
    explain: () => [],
    plan(faults: readonly Fault[]): Plan {
      const refused = faults
        .filter(({ id }) => isBad(id))
        .map(({ id }) => ({ faultId: id, reason: "InvalidPeers", message: "It is bad." }));
      const ids = faults
        .map(({ id }) => id)
        .filter((id) => !isBad(id))
        .toSorted();
      if (ids.length === 0) return { steps: [], refused };
      const sets = { argv: ["sets"] as const, stdin: lines(ids.map((id) => `add set ${id}`)) };
      const rules = { argv: ["rules"] as const, stdin: lines(["flush", ...ids.map((id) => `add rule ${id}`)]) };
      return {
        steps: [
          {
            do: "run",
            id: "sets",
            command: sets,
            undo: { argv: ["sets"], stdin: lines(ids.map((id) => `del set ${id}`)) },
            thenClock: true,
          },
          { do: "run", id: "rules", command: rules, undo: { argv: ["rules"], stdin: lines(ids.map((id) => `del rule ${id}`)) } },
          { do: "run", id: "jump", command: { argv: ["jump"], stdin: "add jump\n" }, undo: { argv: ["jump"], stdin: "del jump\n" } },
        ],
        refused,
      };
    },
    planClock: (faults: readonly FaultInForce[]) =>
      faults.length === 0
        ? undefined
        : { argv: ["clock"], stdin: lines(faults.map(({ fault, remainingMs }) => `clock ${fault.id} ${remainingMs}`)) },
    warmUpEngine: () => undefined,
    runEngine: () => Promise.resolve(),
    onEngineDeath(callback) {
      onDeath = callback;
    },
    dieOfEngine: (reason) => onDeath(reason),
    readReceipts: (ids) =>
      Promise.resolve(new Map(ids.flatMap((id) => (receipts.has(id) ? [[id, receipts.get(id)] as const] : [])) as [string, Receipt][])),
    sweep() {
      kernel.clear();
      return Promise.resolve();
    },
    close: () => Promise.resolve(),
  };
}
