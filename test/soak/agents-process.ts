import { TLSSocket } from "node:tls";
import { Agent } from "../../agent/agent.ts";
import { createPlannedCarrier } from "../../agent/planned-carrier.ts";
import { createExecutor } from "../../agent/executor.ts";
import type { Journal } from "../../agent/journal.ts";
import { watchWakefulness } from "../../agent/wakefulness.ts";
import { type Authority, type Credential, openAuthority } from "../../certs/authority.ts";
import { type PodIdentity, podUri } from "../../certs/identity.ts";
import { type AgentKey, createAgentKey } from "../../certs/keys.ts";
import { systemClock } from "../../common/clock.ts";
import { silentLog } from "../../common/log.ts";
import { ports } from "../../common/names.ts";
import { serveAgent } from "../support/agent-server.ts";
import { createFakeFamily, FakeKernel } from "../support/fake-family.ts";
import { answerOrders } from "./orders.ts";

/** Many agents in one process, each with an address, a certificate and a server of its own; only their kernel is one of memory. */
export type AgentsOrder =
  | { readonly do: "start"; readonly pods: readonly SimulatedPod[]; readonly authority: Credential }
  | { readonly do: "state" };

export interface SimulatedPod extends PodIdentity {
  readonly address: string;
}

export interface AgentsState {
  /** Agents with a fault that has an effect. */
  readonly inForce: number;
  /** Agents in whose kernel anything of ours is set up. */
  readonly touched: number;
  /** Wall-clock milliseconds: when a fault first came into force on an agent since one was taken back, and when last. */
  readonly firstAppliedMs: number;
  readonly lastAppliedMs: number;
  /** When one was last taken back. */
  readonly lastRecoveredMs: number;
}

// Each call has Node describe the controller's certificate anew. Where thousands of agents share two cores with the controller, once must do.
const certificates = new WeakMap<TLSSocket, object>();
function rememberedCertificate(this: TLSSocket): object {
  const known = certificates.get(this) ?? { raw: this.getPeerX509Certificate()?.raw };
  certificates.set(this, known);
  return known;
}
Object.assign(TLSSocket.prototype, { getPeerCertificate: rememberedCertificate });

const wakefulness = watchWakefulness(systemClock);
const kernels: FakeKernel[] = [];
let firstAppliedMs = 0;
let lastAppliedMs = 0;
let lastRecoveredMs = 0;

const readState = (): AgentsState => ({
  inForce: kernels.filter((kernel) => kernel.inForce.length > 0).length,
  touched: kernels.filter(({ state }) => state.size > 0).length,
  firstAppliedMs,
  lastAppliedMs,
  lastRecoveredMs,
});

/** The key is the same for all, which saves time that no agent of a cluster takes from another; the certificate is the agent's own. */
async function start({ address, ...identity }: SimulatedPod, authority: Authority, key: AgentKey): Promise<void> {
  const validity = { now: new Date(), lifetimeMs: 24 * 3_600_000 };
  const certificate = authority.issueAgent(podUri(identity), key.publicKey, validity);
  const kernel = new FakeKernel(systemClock);
  kernels.push(kernel);
  const journal: Journal = { leftovers: [], add: () => Promise.resolve(), clear: () => Promise.resolve() };
  const family = createFakeFamily(kernel);
  const executor = createExecutor({ family, programs: kernel, journal, log: silentLog });
  const onVisited = (_: unknown, wanted: readonly unknown[]): void => {
    kernel.commands.length = 0;
    if (wanted.length === 0) {
      lastRecoveredMs = Date.now();
      return;
    }
    lastAppliedMs = Date.now();
    if (firstAppliedMs <= lastRecoveredMs) firstAppliedMs = lastAppliedMs;
  };
  const agent = new Agent({
    targetUid: identity.uid,
    version: "0.1.0",
    carrier: createPlannedCarrier({ family, executor, log: silentLog }),
    clock: systemClock,
    log: silentLog,
    onVisited,
  });
  const own = { certificate, key: key.privateKey, clientCas: authority.certificate };
  await serveAgent({ agent, identity: own, wakefulness, host: address, port: ports.sidecar });
}

answerOrders(async (raw) => {
  const order = raw as AgentsOrder;
  if (order.do === "state") return readState();
  const authority = openAuthority(order.authority);
  const key = await createAgentKey();
  for (const pod of order.pods) await start(pod, authority, key);
  return {};
});
