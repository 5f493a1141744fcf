import { mkdir } from "node:fs/promises";
import { isIPv6 } from "node:net";
import { Agent } from "../agent/agent.ts";
import { openDoor } from "../agent/door.ts";
import { type Enrolled, enrolUntilDone } from "../agent/enrolment.ts";
import { keepRenewed, type Renewable } from "../agent/renewal.ts";
import { createAgentServer } from "../agent/server.ts";
import { watchWakefulness } from "../agent/wakefulness.ts";
import type { ServerIdentity } from "../certs/grpc-server-credentials.ts";
import { renewAt } from "../certs/renewal.ts";
import type { Clock } from "../common/clock.ts";
import { serveHealth } from "../common/health-server.ts";
import type { Log } from "../common/log.ts";
import { nodeAgent, ports } from "../common/names.ts";
import { sidecarPaths } from "../common/sidecar-layout.ts";
import { VERSION } from "../common/version.ts";
import type { DaemonConfig } from "./config.ts";
import { createDaemonMetrics } from "./metrics.ts";
import { serveNodeActs } from "./node-acts.ts";
import { createPodNetworks } from "./network/pod-networks.ts";
import { startSweeping } from "./network/sweeping.ts";
import { createNodeCarrier } from "./node-carrier.ts";
import { createNodeFamilies } from "./node-families.ts";
import { connectRuntime } from "./runtime/connect-runtime.ts";
import { startVolumes, type Volumes } from "./volumes/volumes.ts";

/** With hostPID: the node's first process, whose mounts are the node's. */
const NODE_PROCESS = 1;

export interface DaemonOptions {
  /** The entry point of this program. */
  readonly main: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Its end ends what has not become ready. */
  readonly signal: AbortSignal;
}

export interface Daemon {
  /** Takes every fault back and stops. */
  close(): Promise<void>;
}

/**
 * Starts the daemon: takes back what an earlier life left on the node, enrols, listens, and applies the faults that the node is to have. Resolves
 * when it is ready; waits for enrolment as long as it takes, or until the signal aborts.
 */
export async function runDaemon(config: DaemonConfig, { main, clock, log, signal }: DaemonOptions): Promise<Daemon> {
  const agentName = nodeAgent(config.nodeName);
  let whyNotReady: string | undefined = "what an earlier life left is being taken back";
  await mkdir(config.stateFolder, { recursive: true });
  const runtime = connectRuntime({ hostRun: config.hostRun, clock, log });
  const networks = createPodNetworks({ ...config, runtime, main, clock });
  const { all: families, network } = await createNodeFamilies({ ...config, networks, clock, log });
  const carrier = createNodeCarrier({ runtime, families, clock, log });
  const agent = new Agent({ targetUid: agentName, version: VERSION, carrier, clock, log });
  let volumes: Volumes | undefined;
  const metrics = createDaemonMetrics({ agent, families, runtime, volumeStates: () => volumes?.states ?? [] });
  const health = await serveHealth({
    port: config.metricsPort,
    registry: metrics,
    whyNotReady: () => whyNotReady,
    whyNotAlive: () => undefined,
  });
  for (const family of families) {
    await family.recover();
    if (family.missing !== undefined) log.warn({ family: family.name, why: family.missing }, "faults cannot be carried out on this node");
  }
  // Before it is enrolled: pods of this node wait for their volumes.
  volumes = await startVolumes({ ...config, main, nodeProcess: NODE_PROCESS, clock, log });
  const sweeping = startSweeping({ runtime, networks, faults: network, clock, log });
  whyNotReady = "it is not enrolled yet";

  const enrol = async (): Promise<Identified> => identify(await enrolUntilDone(enrolment, { clock, log, signal }));
  const enrolment = {
    address: config.enrolmentAddress,
    tokenPath: sidecarPaths.token,
    caPath: sidecarPaths.ca,
    podIps: config.podIps,
    version: VERSION,
    passport: carrier.passport,
  };
  // Before the first answer: it, and a connection, may wait for a process that stands still.
  const wakefulness = watchWakefulness(clock);
  const first = await enrol();
  const node = serveNodeActs({ agent: agentName, runtime, volumes, wakefulness, log });
  const server = createAgentServer({ agent, identity: identityOf(first), wakefulness, node, log });
  const host = config.podIps.some((ip) => isIPv6(ip)) ? "::" : "0.0.0.0";
  const door = await openDoor({ host, port: ports.daemon, server: () => Promise.resolve(server), log });

  /** What came with enrolment may be older than what the controller sent meanwhile: then it is refused, and rightly. */
  const applyDesired = async ({ desired }: Enrolled): Promise<void> => {
    if (desired === undefined || desired.faults.length === 0 || wakefulness.stoodStill) return;
    await agent.apply(desired).catch((error: unknown) => log.info({ err: error }, "the faults that came with enrolment were not applied"));
  };
  await applyDesired(first);
  const stopRenewal = keepRenewed({
    first,
    enrol,
    async onRenewed(newest) {
      server.renew(identityOf(newest));
      await applyDesired(newest);
    },
    caPath: sidecarPaths.ca,
    clock,
    log,
  });
  whyNotReady = undefined;
  log.info({ port: door.port, passport: carrier.passport }, "daemon is ready");
  return {
    async close() {
      whyNotReady = "the daemon ends";
      stopRenewal();
      wakefulness.close();
      await sweeping.close();
      await volumes.close();
      await agent.close();
      await server.close();
      door.close();
      runtime.close();
      await health.close();
    },
  };
}

type Identified = Enrolled & Renewable;

const identify = (enrolled: Enrolled): Identified => ({
  ...enrolled,
  renewAtMs: renewAt(enrolled.validity, Math.random()).getTime(),
});

const identityOf = ({ certificate, privateKey, caCertificates }: Enrolled): ServerIdentity => ({
  certificate,
  key: privateKey,
  clientCas: caCertificates,
});
