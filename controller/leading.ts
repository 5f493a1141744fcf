import { randomInt } from "node:crypto";
import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import { isKubeError } from "../kube/errors.ts";
import type { Kube } from "../kube/kube.ts";
import type { Leadership } from "../kube/lease.ts";
import { Reflector } from "../kube/reflector.ts";
import { configMaps, pods } from "../kube/resources.ts";
import { wait } from "../kube/wait.ts";
import { createDial } from "./agents/dial.ts";
import { Dispatcher } from "./agents/dispatcher.ts";
import { caConfigMapScope } from "./certificates/ca-config-maps.ts";
import { CertificateKeeper } from "./certificates/keeper.ts";
import type { ControllerConfig } from "./config.ts";
import { writeEnrolmentEndpoint } from "./enrolment-endpoint.ts";
import { type EnrolmentListener, startEnrolmentServer } from "./enrolment.ts";
import { Memories } from "./memory.ts";
import type { ControllerMetrics } from "./metrics.ts";
import { WorkQueue } from "./queue.ts";
import { reconcile } from "./reconcile.ts";
import { createRecorder } from "./recorder.ts";
import type { World } from "./world.ts";

export interface LeadingDeps {
  readonly config: ControllerConfig;
  readonly kube: Kube;
  readonly world: World;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: ControllerMetrics;
  /** Asks the clock whether the lease still holds: a frozen process wakes up without knowing. */
  readonly isLeading: () => boolean;
}

const ENDPOINT_EVERY_MS = 30_000;
/** An experiment that cannot be visited must not keep the others waiting for ever. */
const FIRST_ROUND_LIMIT_MS = 10_000;

/**
 * Everything that only the leader does, from the day it leads to the day it does not: certificates, enrolment, and the experiments. Resolves once
 * all of it has ended, which is when the leadership has.
 */
export async function lead({ epoch, signal }: Leadership, deps: LeadingDeps): Promise<void> {
  const { kube, world, clock, log, metrics, isLeading } = deps;
  const caConfigMaps = new Reflector({ kube, resource: configMaps, scope: caConfigMapScope, clock, log });
  const keeper = new CertificateKeeper({ kube, clock, log, namespaces: world.namespaces, caConfigMaps });
  const memories = new Memories();
  const recorder = createRecorder({ kube, clock, log, signal });
  const agents = new Dispatcher({
    leaderEpoch: epoch,
    dial: createDial({ credentials: () => keeper.currentCredentials() }),
    locate: (uid) => world.locate(uid),
    clock,
    log,
    signal,
    onChange: ({ key }) => {
      if (key !== "") queue.add(key);
    },
  });
  const mustLead = (): void => {
    if (signal.aborted || !isLeading()) throw new Error("This process does not lead any more.");
  };
  const visit = async (key: string): Promise<void> => {
    const end = metrics.startVisit();
    try {
      const { nextMs } = await reconcile(key, {
        kube,
        world,
        agents,
        memories,
        clock,
        recorder,
        signal,
        mustLead,
        randomBelow: (bound) => randomInt(bound),
      });
      if (nextMs !== undefined) queue.addAfter(key, nextMs);
    } finally {
      end();
    }
  };
  const queue = new WorkQueue({
    clock,
    visit,
    onError: (key, error) => {
      if (!signal.aborted) log.warn({ experiment: key, err: error }, "a visit failed and is repeated");
    },
    workers: deps.config.workers,
  });
  let listener: EnrolmentListener | undefined;
  let off = (): void => undefined;
  try {
    caConfigMaps.start();
    await unlessAborted(caConfigMaps.synced(), signal);
    keeper.start();
    await unlessAborted(keeper.ready(), signal);
    listener = await startEnrolmentServer({
      kube,
      clock,
      log,
      certificates: keeper,
      findPodUid: (ref, within) => findPodUid(kube, ref, within),
      desiredFor: ({ uid }) => agents.desiredFor(uid),
      isLeading,
      address: `[::]:${deps.config.enrolmentPort}`,
    });
    const endpoint = keepEndpoint(deps, signal);
    off = world.onChange(({ text }) => queue.add(text));
    for (const { key } of world.experiments()) queue.add(key.text);
    // The set that an agent gets is complete, so each experiment has its say before anything is sent.
    const limitMs = clock.monotonicMs() + FIRST_ROUND_LIMIT_MS;
    while (!signal.aborted && queue.depth > 0 && clock.monotonicMs() < limitMs) await wait(clock, 20, signal);
    agents.open();
    log.info({ epoch, experiments: world.experiments().length }, "leading");
    await endpoint;
  } catch (error) {
    if (!signal.aborted) log.error({ err: error }, "leading failed");
  } finally {
    off();
    await queue.close();
    await agents.close();
    await listener?.close();
    await keeper.close();
    await caConfigMaps.close();
    await recorder.idle();
  }
}

/** Keeps this pod behind the enrolment Service for as long as it leads. */
async function keepEndpoint({ config, kube, clock, log }: LeadingDeps, signal: AbortSignal): Promise<void> {
  const self = { name: config.podName, uid: config.podUid, ips: config.podIps };
  while (!signal.aborted) {
    await writeEnrolmentEndpoint(kube, self).catch((error: unknown) =>
      log.warn({ err: error }, "the enrolment endpoint could not be written"),
    );
    await wait(clock, ENDPOINT_EVERY_MS, signal);
  }
}

async function findPodUid(
  kube: Kube,
  ref: { readonly namespace: string; readonly name: string },
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    return (await kube.get(pods, ref, signal)).metadata.uid;
  } catch (error) {
    if (isKubeError(error, "not-found")) return undefined;
    throw error;
  }
}

async function unlessAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  await Promise.race([
    work,
    new Promise<never>((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true })),
  ]);
}
