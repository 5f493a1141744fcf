import { readdirSync } from "node:fs";
import { Agent } from "../../agent/agent.ts";
import { createExecutor } from "../../agent/executor.ts";
import type { Journal } from "../../agent/journal.ts";
import { serveAgent } from "../../agent/server.ts";
import { watchWakefulness } from "../../agent/wakefulness.ts";
import { openAuthority } from "../../certs/authority.ts";
import { RenewableServerCredentials } from "../../certs/grpc-server-credentials.ts";
import { podUri } from "../../certs/identity.ts";
import { createAgentKey } from "../../certs/keys.ts";
import { systemClock } from "../../common/clock.ts";
import { silentLog } from "../../common/log.ts";
import { addressOf } from "./agents.ts";
import { createFakeFamily, FakeKernel } from "../support/fake-family.ts";

/** Many agents in one process, each with an address, a certificate and a server of its own; only their kernel is one of memory. */
export type AgentsOrder =
  | {
      readonly do: "start";
      readonly namespace: string;
      /** Of the pods, in the order of their addresses. */
      readonly uids: readonly string[];
      readonly port: number;
      readonly authority: { readonly certificate: string; readonly key: string };
    }
  | { readonly do: "usage" };

export interface Usage {
  /** Of JavaScript objects that are still held. */
  readonly heapMb: number;
  readonly rssMb: number;
  readonly descriptors: number;
  readonly timers: number;
  /** Wall-clock milliseconds: when a fault last came into force on an agent, and when one was last taken back. */
  readonly lastAppliedMs: number;
  readonly lastRecoveredMs: number;
}

const wakefulness = watchWakefulness(systemClock);
let lastAppliedMs = 0;
let lastRecoveredMs = 0;

export function readUsage(): Usage {
  globalThis.gc?.();
  const timers = process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
  const { rss, heapUsed } = process.memoryUsage();
  const toMb = (bytes: number): number => Math.round(bytes / 2 ** 20);
  return {
    heapMb: toMb(heapUsed),
    rssMb: toMb(rss),
    descriptors: readdirSync("/proc/self/fd").length,
    timers,
    lastAppliedMs,
    lastRecoveredMs,
  };
}

async function start(
  uid: string,
  index: number,
  { port, namespace, authority: stored }: Extract<AgentsOrder, { do: "start" }>,
): Promise<void> {
  const authority = openAuthority(stored);
  const key = await createAgentKey();
  const certificate = authority.issueAgent(podUri({ namespace, uid }), key.publicKey, {
    now: new Date(),
    lifetimeMs: 24 * 3_600_000,
  });
  const kernel = new FakeKernel(systemClock);
  const journal: Journal = { leftovers: [], add: () => Promise.resolve(), clear: () => Promise.resolve() };
  const family = createFakeFamily(kernel);
  const executor = createExecutor({ family, programs: kernel, journal, log: silentLog });
  const onVisited = (_: unknown, wanted: readonly unknown[]): void => {
    if (wanted.length > 0) lastAppliedMs = Date.now();
    else lastRecoveredMs = Date.now();
  };
  const agent = new Agent({ targetUid: uid, version: "0.1.0", family, executor, clock: systemClock, log: silentLog, onVisited });
  const credentials = new RenewableServerCredentials({ certificate, key: key.privateKey, clientCas: authority.certificate });
  await serveAgent({ agent, credentials, wakefulness, address: `${addressOf(index)}:${port}`, log: silentLog });
}

if (process.send !== undefined) {
  process.on("message", (order: AgentsOrder) => {
    const act = async (): Promise<unknown> => {
      if (order.do === "usage") return readUsage();
      for (const [index, uid] of order.uids.entries()) await start(uid, index, order);
      return {};
    };
    act().then(
      (answer) => process.send?.({ answer }),
      (error: unknown) => process.send?.({ error: String(error) }),
    );
  });
  process.on("disconnect", () => process.exit(0));
  setInterval(() => undefined, 60_000);
}
