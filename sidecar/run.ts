import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Agent } from "../agent/agent.ts";
import { createExecutor } from "../agent/executor.ts";
import { openJournal } from "../agent/journal.ts";
import { createNetworkFamily } from "../agent/network/driver.ts";
import { startEngine } from "../agent/network/engine/engine.ts";
import { watchDnsAnswers } from "../agent/network/dns-watch.ts";
import { readPodFacts } from "../agent/network/facts.ts";
import { createLookup } from "../agent/network/host-names.ts";
import { findPrograms } from "../agent/programs.ts";
import { serveAgent } from "../agent/server.ts";
import { type Wakefulness, watchWakefulness } from "../agent/wakefulness.ts";
import { RenewableServerCredentials } from "../certs/grpc-server-credentials.ts";
import { renewAt, validityOf } from "../certs/renewal.ts";
import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import { ports } from "../common/names.ts";
import { sidecarPaths } from "../common/sidecar-layout.ts";
import { VERSION } from "../common/version.ts";
import type { SidecarConfig } from "./config.ts";
import { type Enrolled, enrolUntilDone } from "./enrolment.ts";
import { writeExplanation } from "./explain.ts";

export interface Sidecar {
  /** Takes every fault back and stops. */
  close(): Promise<void>;
}

/**
 * Starts the sidecar: removes what an earlier life left, enrols, serves, and applies the faults that this pod was born into. Resolves when it is
 * ready; waits for enrolment as long as it takes, or until the signal aborts.
 */
export async function runSidecar(
  config: SidecarConfig,
  { clock, log, signal }: { readonly clock: Clock; readonly log: Log; readonly signal: AbortSignal },
): Promise<Sidecar> {
  await rm(sidecarPaths.ready, { force: true });
  const programs = findPrograms();
  const facts = await readPodFacts(programs, {
    hostIps: config.hostIps,
    podIps: config.podIps,
    probePorts: config.probePorts,
    agentPort: ports.sidecar,
  });
  log.info({ ...facts, version: VERSION }, "sidecar starts");
  const family = createNetworkFamily({
    facts,
    programs,
    log,
    clock,
    startEngine,
    lookup: createLookup(await readFile("/etc/resolv.conf", "utf8").catch(() => "")), // without one, names are asked for as they are
    watchDns: watchDnsAnswers,
  });
  const executor = createExecutor({ family, programs, log, journal: await openJournal(join(sidecarPaths.state, "journal")) });
  const onVisited = writeExplanation(family.passport, log);
  const agent = new Agent({ targetUid: config.podUid, version: VERSION, family, executor, clock, log, onVisited });
  await agent.start();
  onVisited(agent.report(), [], []);

  const options = {
    address: config.enrolmentAddress,
    tokenPath: sidecarPaths.token,
    caPath: sidecarPaths.ca,
    podIps: config.podIps,
    version: VERSION,
    passport: family.passport,
  };
  const enrolAgain = (): Promise<Enrolled> => enrolUntilDone(options, { clock, log, signal });
  const first = await enrolAgain();
  const credentials = new RenewableServerCredentials(identityOf(first));
  const wakefulness = watchWakefulness(clock);
  const server = await serveAgent({ agent, credentials, wakefulness, address: `${bindHost(config.podIps)}:${ports.sidecar}`, log });
  await applyDesired(agent, first, { wakefulness, log });
  let cancelRenewal = (): void => undefined;
  const armRenewal = ({ certificate }: Enrolled): void => {
    const waitMs = renewAt(validityOf(certificate), Math.random()).getTime() - clock.now().getTime();
    cancelRenewal = clock.after(Math.max(waitMs, 1_000), () => {
      enrolAgain().then(
        async (renewed) => {
          credentials.replace(identityOf(renewed));
          log.info({}, "certificate renewed");
          armRenewal(renewed);
          await applyDesired(agent, renewed, { wakefulness, log });
        },
        (error: unknown) => log.debug({ err: error }, "renewal ended with the process"),
      );
    });
  };
  armRenewal(first);
  await mkdir(dirname(sidecarPaths.ready), { recursive: true });
  await writeFile(sidecarPaths.ready, `${VERSION}\n`);
  log.info({ port: server.port }, "sidecar is ready");
  return {
    async close() {
      cancelRenewal();
      wakefulness.close();
      await agent.close();
      await server.close();
    },
  };
}

/** The pod's own network namespace has no other listener to collide with; both families are served where the pod has both. */
const bindHost = (podIps: readonly string[]): string => (podIps.some((ip) => ip.includes(":")) ? "[::]" : "0.0.0.0");

const identityOf = ({
  certificate,
  privateKey,
  caCertificates,
}: Enrolled): { readonly certificate: string; readonly key: string; readonly clientCas: string } => ({
  certificate,
  key: privateKey,
  clientCas: caCertificates,
});

/**
 * What came with enrolment may be older than what the controller sent meanwhile: then it is refused, and rightly. What waited while this process
 * stood still is left to the controller, which sends it again.
 */
async function applyDesired(
  agent: Agent,
  { desired }: Enrolled,
  { wakefulness, log }: { readonly wakefulness: Wakefulness; readonly log: Log },
): Promise<void> {
  if (desired === undefined || desired.faults.length === 0 || wakefulness.stoodStill) return;
  await agent.apply(desired).catch((error: unknown) => log.info({ err: error }, "the faults that came with enrolment were not applied"));
}
