import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { packetMark } from "../../../common/names.ts";
import type { FaultCounters } from "../../../agent/network/engine/rules.ts";
import type { EngineTotals } from "../../../agent/network/engine/messages.ts";
import type { FaultReport } from "../../../proto/gen/agent.ts";
import type { AgentOrder, AgentStart, Change, Stop } from "./agent-process.ts";
import type { EngineOrder } from "./engine-process.ts";
import type { TrafficAnswer, TrafficOrder } from "./traffic.ts";

const run = promisify(execFile);

export const LEFT = "10.99.0.1";
export const RIGHT = "10.99.0.2";
export const LEFT6 = "fd99::1";
export const RIGHT6 = "fd99::2";
export const QUEUE = 7;

/** Two network namespaces joined by a veth pair; faults are on what leaves the left one. */
export interface TwoHosts {
  readonly left: Host;
  readonly right: Host;
  /** The folder of the agents' state. */
  readonly state: string;
  /** Sends what leaves the left side to RIGHT into the queue, or no longer. */
  queueOn(): Promise<void>;
  queueOff(): Promise<void>;
  startEngine(options?: EngineStart): Promise<EngineHandle>;
  /** An agent on the left side, swept and ready; all of them have one journal. */
  startAgent(options?: AgentStartOptions): Promise<AgentHandle>;
  close(): Promise<void>;
}

export interface EngineStart {
  readonly maxHeldBytes?: number | undefined;
  /** Only these; all without. */
  readonly capabilities?: readonly string[] | undefined;
}

export interface Host {
  /** Runs a program inside and returns its standard output. */
  run(program: string, ...parameters: string[]): Promise<string>;
  traffic(order: TrafficOrder): Promise<TrafficAnswer>;
  /** Starts a script of ours inside, which answers orders; it ends with the namespaces, or before when told to. */
  start<Order extends object, Answer>(script: URL): Child<Order, Answer>;
}

/** A process of ours inside a namespace. */
export interface Child<Order, Answer> {
  readonly process: ChildProcess;
  readonly ask: (order: Order) => Promise<Answer>;
  readonly end: () => Promise<void>;
}

export interface EngineHandle extends Child<EngineOrder, unknown> {
  counters(): Promise<Record<string, FaultCounters>>;
  totals(): Promise<EngineTotals>;
}

export type AgentStartOptions = Pick<AgentStart, "stop" | "disk" | "wallClockJumpsMs">;

/** What an Apply came to. */
export interface Applied {
  readonly faults: readonly FaultReport[];
  readonly changes: readonly Change[];
  readonly engines: readonly string[];
}

export interface AgentHandle {
  readonly process: ChildProcess;
  /** What its start changed. */
  readonly changes: readonly Change[];
  /** The complete set of faults. */
  apply(faults: Extract<AgentOrder, { do: "apply" }>["faults"]): Promise<Applied>;
  /** A heartbeat; answers with what it changed. */
  beat(): Promise<readonly Change[]>;
  report(): Promise<readonly FaultReport[]>;
  /** Takes everything back, as at the end of a pod; answers with what it changed. */
  close(): Promise<readonly Change[]>;
  /** All that a fault could leave behind, see `residue.ts`. */
  residue(): Promise<string>;
  /** Counts changes from now on, and has the process stop at one of them. */
  stopAt(stop: Stop): Promise<void>;
  /** Resolves once the process stands still; rejects when it does not within 20 s. */
  frozen(): Promise<void>;
  end(): Promise<void>;
}

const mark = `0x${packetMark.value.toString(16)}/0x${packetMark.mask.toString(16)}`;
const queueRule = [
  ...["POSTROUTING", "-d", RIGHT, "-o", "eth0", "-m", "mark", "!", "--mark", mark],
  ...["-j", "NFQUEUE", "--queue-num", String(QUEUE), "--queue-bypass"],
];

let pairs = 0;

export async function createTwoHosts({ mtu = 1500 }: { readonly mtu?: number } = {}): Promise<TwoHosts> {
  const pair = `squall-e${process.pid}-${++pairs}`;
  const names = { left: `${pair}-l`, right: `${pair}-r` };
  const ends: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (const end of ends.splice(0).reverse()) await end();
  };
  try {
    const folder = await mkdtemp(join(tmpdir(), "squall-agent-"));
    ends.push(() => rm(folder, { recursive: true, force: true }));
    const journal = join(folder, "journal");
    for (const name of [names.left, names.right]) {
      await run("ip", ["netns", "add", name]);
      ends.push(async () => void (await run("ip", ["netns", "del", name])));
    }
    const peer = ["peer", "name", "eth0", "netns", names.right, "mtu", String(mtu)];
    await run("ip", ["-n", names.left, "link", "add", "eth0", "mtu", String(mtu), "type", "veth", ...peer]);
    for (const [name, address] of [
      [names.left, LEFT],
      [names.right, RIGHT],
    ] as const) {
      await run("ip", ["-n", name, "address", "add", `${address}/24`, "dev", "eth0"]);
      await run("ip", ["-n", name, "address", "add", `${address === LEFT ? LEFT6 : RIGHT6}/64`, "dev", "eth0", "nodad"]);
      // link-local addresses are there at once: a dump is the same from the first moment on
      await run("ip", ["netns", "exec", name, "sysctl", "-q", "-w", "net.ipv6.conf.eth0.accept_dad=0"]);
      for (const device of ["lo", "eth0"]) await run("ip", ["-n", name, "link", "set", device, "up"]);
    }
    for (const name of [names.left, names.right]) await carriesIpv6(name);
    const hosts = { left: startHost(names.left), right: startHost(names.right) };
    ends.push(hosts.left.end, hosts.right.end);
    return {
      ...hosts,
      state: folder,
      close,
      queueOn: async () => void (await hosts.left.run("iptables", "-t", "mangle", "-A", ...queueRule)),
      queueOff: async () => void (await hosts.left.run("iptables", "-t", "mangle", "-D", ...queueRule)),
      async startAgent(options = {}) {
        const agent: Child<AgentOrder, unknown> = startChild(names.left, beside("agent-process.ts"));
        ends.push(() => agent.end());
        const changes = await agent.ask({ do: "start", podIps: [LEFT, LEFT6], journal, ...options });
        return handleOf(agent, changes as readonly Change[]);
      },
      async startEngine({ maxHeldBytes, capabilities } = {}) {
        const engine: Child<EngineOrder, unknown> = startChild(names.left, beside("engine-process.ts"), capabilities);
        ends.push(() => engine.end());
        await engine.ask({ do: "start", maxHeldBytes });
        return {
          ...engine,
          counters: async () => (await engine.ask({ do: "read-counters" })) as Record<string, FaultCounters>,
          totals: async () => (await engine.ask({ do: "read-totals" })) as EngineTotals,
        };
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * The kernel notices at most once a second that a link has its other end (its "linkwatch"); before it does, an IPv6 address is there but the
 * neighbours' questions for it find no route.
 */
async function carriesIpv6(name: string): Promise<void> {
  for (let turn = 0; turn < 100; turn++) {
    const { stdout } = await run("ip", ["-n", name, "-6", "route", "show", "table", "local"]);
    if (/^multicast ff00::\/8 dev eth0 /m.test(stdout)) return;
    await sleep(50);
  }
  throw new Error(`eth0 of ${name} does not carry IPv6 within 5 s.`);
}

function handleOf(agent: Child<AgentOrder, unknown>, changes: readonly Change[]): AgentHandle {
  return {
    process: agent.process,
    changes,
    apply: async (faults) => (await agent.ask({ do: "apply", faults })) as Applied,
    beat: async () => (await agent.ask({ do: "beat" })) as readonly Change[],
    report: async () => (await agent.ask({ do: "report" })) as readonly FaultReport[],
    close: async () => (await agent.ask({ do: "close" })) as readonly Change[],
    residue: async () => (await agent.ask({ do: "residue" })) as string,
    stopAt: async (stop) => void (await agent.ask({ do: "stop-at", stop })),
    async frozen() {
      for (let turn = 0; turn < 2_000; turn++) {
        const status = await readFile(`/proc/${agent.process.pid}/status`, "utf8").catch(() => ""); // it ended: then it never stands still
        if (/^State:\s+T/m.test(status)) return;
        await sleep(10);
      }
      throw new Error("The agent does not stand still.");
    },
    end: agent.end,
  };
}

function startHost(name: string): Host & { readonly end: () => Promise<void> } {
  const traffic: Child<TrafficOrder, TrafficAnswer> = startChild(name, beside("traffic-process.ts"));
  const ends = [traffic.end];
  return {
    traffic: traffic.ask,
    run: async (program, ...parameters) => (await run("ip", ["netns", "exec", name, program, ...parameters])).stdout,
    start<Order extends object, Answer>(script: URL) {
      const child: Child<Order, Answer> = startChild(name, script);
      ends.push(child.end);
      return child;
    },
    end: async () => void (await Promise.all(ends.map((end) => end()))),
  };
}

const beside = (file: string): URL => new URL(file, import.meta.url);

/** Starts one of our processes in a namespace; it takes one order at a time. */
function startChild<Order extends object, Answer>(name: string, url: URL, capabilities?: readonly string[]): Child<Order, Answer> {
  const only = capabilities?.map((capability) => `+${capability.replace("cap_", "")}`).join(",");
  const limit = only === undefined ? [] : ["setpriv", "--bounding-set", `-all,${only}`, "--inh-caps", `-all,${only}`];
  return startProcess(url, ["ip", "netns", "exec", name, ...limit]);
}

/** Starts one of our processes by way of other programs, each of which becomes the next. */
export function startProcess<Order extends object, Answer>(url: URL, through: readonly string[] = []): Child<Order, Answer> {
  const script = fileURLToPath(url);
  const [program, ...parameters] = [...through, process.execPath, script];
  const child = spawn(program, parameters, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  let last: Promise<unknown> = Promise.resolve();
  const ask = async (order: Order): Promise<Answer> => {
    const answered = Promise.withResolvers<{ answer: Answer; error?: string }>();
    const exited = (): void => answered.reject(new Error(`${script} ended`));
    child.once("message", answered.resolve);
    child.once("exit", exited);
    if (child.connected) child.send(order, (error) => (error ? exited() : undefined));
    else exited();
    try {
      const reply = await answered.promise;
      if (reply.error !== undefined) throw new Error(reply.error);
      return reply.answer;
    } finally {
      child.off("message", answered.resolve);
      child.off("exit", exited);
    }
  };
  return {
    process: child,
    ask(order) {
      const next = last.then(() => ask(order));
      last = next.catch(() => undefined);
      return next;
    },
    async end() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGKILL");
      await once(child, "exit");
    },
  };
}
