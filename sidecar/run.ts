import { rm } from "node:fs/promises";
import { openDoor } from "../agent/door.ts";
import { passportOf } from "../agent/network/facts.ts";
import { type Wakefulness, watchWakefulness } from "../agent/wakefulness.ts";
import type { ServerIdentity } from "../certs/grpc-server-credentials.ts";
import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import { ports } from "../common/names.ts";
import { type ServedVolume, sidecarPaths } from "../common/sidecar-layout.ts";
import { VERSION } from "../common/version.ts";
import type { SidecarConfig } from "./config.ts";
import { type EnrolAnswer, startEnroller } from "./enroller.ts";
import { createExplanationFile, type VisitExplanation } from "./explanation.ts";
import { explainVolumes, type FileServers, noFileServers, withVolumes } from "./files/file-servers.ts";
import type { Naming } from "./files/persistent-volumes.ts";
import { keepRenewed } from "../agent/renewal.ts";
import { prepareNetwork } from "./prepare-network.ts";
import { areVolumesSettled, isSettled, tellReady, tellVolumesSettled } from "./readiness.ts";
import type { Passport } from "../proto/gen/agent.ts";
import type { Work } from "./work.ts";

export interface SidecarOptions {
  /** The entry point of this program. */
  readonly main: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Its end ends what has not become ready. */
  readonly signal: AbortSignal;
  /** Gives memory back that is not used; called when there is nothing to do for long. */
  readonly collectGarbage: () => void;
  /** Begins to serve volumes, as soon as the node's daemon hands them over, or once it is told what they wait for. */
  readonly openServers: (volumes: readonly ServedVolume[]) => Promise<{
    readonly servers: OpenFileServers;
    readonly naming: Naming | undefined;
  }>;
}

export interface OpenFileServers extends FileServers {
  close(): Promise<void>;
}

export interface Sidecar {
  /** Takes every fault back and stops. */
  close(): Promise<void>;
}

/**
 * Starts the sidecar: removes what an earlier life left, enrols, listens, and applies the faults that this pod was
 * born into. Resolves when it is ready; waits for enrolment as long as it takes, or until the signal aborts.
 *
 * Most sidecars are never called. What is needed to serve and to carry faults out is in memory from the first connection or fault on (work.ts).
 */
export async function runSidecar(config: SidecarConfig, options: SidecarOptions): Promise<Sidecar> {
  for (const path of [sidecarPaths.ready, sidecarPaths.volumesSettled]) await rm(path, { force: true });
  // Before all else and whatever becomes of it: the application waits for its files.
  const opened = config.volumes.length === 0 ? undefined : await options.openServers(config.volumes);
  const servers = opened?.servers;
  try {
    const agent = await runAgent(config, { ...options, servers: servers ?? noFileServers, naming: opened?.naming });
    return {
      async close() {
        try {
          await agent.close();
        } finally {
          await servers?.close(); // or a mount that nobody serves any more would keep the pod from being deleted
        }
      },
    };
  } catch (error) {
    await servers?.close();
    throw error;
  }
}

async function runAgent(
  config: SidecarConfig,
  {
    main,
    clock,
    log,
    signal,
    collectGarbage,
    servers,
    naming,
  }: Omit<SidecarOptions, "openServers"> & { readonly servers: FileServers; readonly naming: Naming | undefined },
): Promise<Sidecar> {
  const enroller = startEnroller({ main, logLevel: config.logLevel, clock, log, signal });
  const { programs, facts, journal } = await prepareNetwork(config, { clock, log, signal });
  const passport = (): Passport => withVolumes(passportOf(facts), servers.state());
  const writeExplanation = createExplanationFile(log);
  let visited: VisitExplanation = { version: VERSION, passport: passport(), faults: [], classes: [], operations: [] };
  let isEnrolled = false;
  let areVolumesTold = false;
  let isReadyTold = false;
  /** What changed is written down, and whether the application may start. */
  const tell = (): void => {
    const states = servers.state();
    writeExplanation({ ...visited, passport: passport(), volumes: explainVolumes(states) });
    const fail = (error: unknown): void => log.error({ err: error }, "the application was not told that it may start");
    if (!areVolumesTold && areVolumesSettled(states)) {
      areVolumesTold = true;
      tellVolumesSettled().catch(fail);
    }
    if (isReadyTold || !isEnrolled || !isSettled(states, visited.faults)) return;
    isReadyTold = true;
    tellReady().catch(fail);
  };
  servers.onChange(tell);
  tell();
  const rest = createRest(clock, collectGarbage);

  const enrol = (volumes: readonly string[] = []): Promise<EnrolAnswer> =>
    enroller.enrol({
      address: config.enrolmentAddress,
      tokenPath: sidecarPaths.token,
      caPath: sidecarPaths.ca,
      podIps: config.podIps,
      version: VERSION,
      passport: passport(),
      volumes,
    });
  // Before the first answer: it, and a connection, may wait for a process that stands still.
  const wakefulness = watchWakefulness(clock);
  let newest = await enrol(naming?.volumes);
  await naming?.tell(newest.persistentVolumes);
  let working: Promise<Work> | undefined;
  const startWork = async (): Promise<Work> => {
    const work = await import("./work.ts");
    return work.startWork({
      podUid: config.podUid,
      facts,
      passport,
      servers,
      programs,
      journal,
      identity: identityOf(newest),
      wakefulness,
      onVisited(explanation) {
        visited = explanation;
        tell();
        rest({ isIdle: explanation.faults.length === 0 });
      },
      clock,
      log,
    });
  };
  const work = (): Promise<Work> =>
    (working ??= startWork().catch((error: unknown) => {
      working = undefined; // it may go better next time
      throw error;
    }));
  const host = bindHost(config.podIps);
  const door = await openDoor({ host, port: ports.sidecar, server: async () => (await work()).server, log });
  await applyDesired(newest, { work, wakefulness, log });

  const stopRenewal = keepRenewed({
    first: newest,
    enrol: () => enrol(),
    async onRenewed(renewed) {
      newest = renewed;
      (await working)?.server.renew(identityOf(newest));
      await applyDesired(newest, { work, wakefulness, log });
    },
    caPath: sidecarPaths.ca,
    clock,
    log,
  });
  isEnrolled = true;
  tell();
  log.info({ port: door.port }, "sidecar is ready");
  collectGarbage();
  return {
    async close() {
      stopRenewal();
      wakefulness.close();
      const done = await working;
      await done?.agent.close();
      await done?.server.close();
      door.close();
    },
  };
}

const REST_AFTER_MS = 5_000;

/** Gives memory back a while after the last fault ended. */
function createRest(clock: Clock, collectGarbage: () => void): (now: { readonly isIdle: boolean }) => void {
  let cancel = (): void => undefined;
  return ({ isIdle }) => {
    cancel();
    cancel = isIdle ? clock.after(REST_AFTER_MS, collectGarbage) : () => undefined;
  };
}

/** The pod's own network namespace has no other listener to collide with; both families are served where the pod has both. */
const bindHost = (podIps: readonly string[]): string => (podIps.some((ip) => ip.includes(":")) ? "::" : "0.0.0.0");

const identityOf = ({ certificate, privateKey, caCertificates }: EnrolAnswer): ServerIdentity => ({
  certificate,
  key: privateKey,
  clientCas: caCertificates,
});

/**
 * What came with enrolment may be older than what the controller sent meanwhile: then it is refused, and rightly. What waited while this process
 * stood still is left to the controller, which sends it again.
 */
async function applyDesired(
  { desired }: EnrolAnswer,
  { work, wakefulness, log }: { readonly work: () => Promise<Work>; readonly wakefulness: Wakefulness; readonly log: Log },
): Promise<void> {
  if (desired === undefined) return;
  const { agent, decodeDesired } = await work();
  if (wakefulness.stoodStill) return;
  await agent
    .apply(decodeDesired(Buffer.from(desired, "base64")))
    .catch((error: unknown) => log.info({ err: error }, "the faults that came with enrolment were not applied"));
}
