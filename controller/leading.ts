import { randomInt } from "node:crypto";
import { isIPv6 } from "node:net";
import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import { isKubeError } from "../kube/errors.ts";
import type { Kube, ObjectRef } from "../kube/kube.ts";
import type { Leadership } from "../kube/lease.ts";
import { Reflector } from "../kube/reflector.ts";
import { configMaps, type EnrollingPod, enrollingPods } from "../kube/resources.ts";
import { wait } from "../kube/wait.ts";
import { createDial } from "./agents/dial.ts";
import { caConfigMapScope } from "./certificates/ca-config-maps.ts";
import { CertificateKeeper } from "./certificates/keeper.ts";
import type { ControllerConfig } from "./config.ts";
import { writeEnrolmentEndpoint } from "./enrolment-endpoint.ts";
import { startEnrolmentServer } from "./enrolment.ts";
import { startExperiments } from "./experiments.ts";
import { startHaltReports } from "./halts.ts";
import type { ControllerMetrics } from "./metrics.ts";
import { startInjectionChecks } from "./namespaces/injection-checks.ts";
import { detachVolumes } from "./uninstall/detach-volumes.ts";
import { keepHolds } from "./uninstall/holds.ts";
import { uninstall, waitForExperiments } from "./uninstall/uninstall.ts";
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

/**
 * Everything that only the leader does, from the day it leads to the day it does not: certificates, experiments, enrolment, and the end of all
 * when Squall is uninstalled. Resolves once that has ended, with whether Squall is uninstalled or the leadership over; throws when a part of
 * it cannot be started.
 */
export async function lead(leadership: Leadership, deps: LeadingDeps): Promise<"uninstalled" | "over"> {
  const { signal } = leadership;
  await work(leadership, deps);
  if (signal.aborted) return "over";
  await uninstall(deps, signal);
  return signal.aborted ? "over" : "uninstalled";
}

/** Until the leadership is over, or Squall is uninstalled and its experiments are. */
async function work(leadership: Leadership, deps: LeadingDeps): Promise<void> {
  const { config, kube, world, clock, log, metrics, isLeading } = deps;
  const { signal } = leadership;
  const closers: (() => Promise<void>)[] = [];
  try {
    const caConfigMaps = new Reflector({ kube, resource: configMaps, scope: caConfigMapScope, clock, log });
    closers.push(() => caConfigMaps.close());
    caConfigMaps.start();
    await unlessAborted(caConfigMaps.synced(), signal);
    const keeper = new CertificateKeeper({ kube, clock, log, namespaces: world.namespaces, caConfigMaps });
    closers.push(() => keeper.close());
    keeper.start();
    await unlessAborted(keeper.ready(), signal);
    const dial = createDial({ credentials: () => keeper.currentCredentials() });
    const experiments = startExperiments({
      leadership,
      kube,
      world,
      dial,
      clock,
      log,
      workers: config.workers,
      pauseImage: config.pauseImage,
      randomBelow: (bound) => randomInt(bound),
      isLeading,
      metrics,
    });
    closers.push(() => experiments.close());
    const haltReports = startHaltReports({ kube, world, clock, log, signal });
    closers.push(() => haltReports.close());
    const checks = startInjectionChecks({ kube, namespaces: world.namespaces, pods: () => world.pods(), clock, log, signal });
    closers.push(() => checks.close());
    const listener = await startEnrolmentServer({
      kube,
      clock,
      log,
      certificates: keeper,
      findPod: (ref, within) => findPod(kube, ref, within),
      desiredFor: ({ agent }) => experiments.desiredFor(agent),
      onPassport: ({ agent }, passport) => experiments.learnPassport(agent, passport),
      isLeading,
      // A node without IPv6 has no [::] to listen on.
      address: `${config.podIps.some((ip) => isIPv6(ip)) ? "[::]" : "0.0.0.0"}:${config.enrolmentPort}`,
    });
    closers.push(() => listener.close());
    const staying = AbortSignal.any([signal, world.uninstall.begun]);
    await Promise.all([keepEndpoint(deps, staying), keepHolds({ kube, notice: world.uninstall, clock, log, signal: staying })]);
    const { leaving } = world.uninstall;
    if (leaving === undefined) return;
    await Promise.all([
      waitForExperiments(deps, leaving, signal),
      detachVolumes({ world, dial, epoch: leadership.epoch, clock, log }, leaving, signal),
    ]);
  } finally {
    for (const close of closers.toReversed()) await close();
  }
}

/** Keeps this pod behind the enrolment Service for as long as it leads. */
async function keepEndpoint({ config, kube, clock, log }: LeadingDeps, signal: AbortSignal): Promise<void> {
  const self = { name: config.podName, uid: config.podUid, ips: config.podIps };
  while (!signal.aborted) {
    await writeEnrolmentEndpoint(kube, self, signal).catch((error: unknown) => {
      if (!signal.aborted) log.warn({ err: error }, "the enrolment endpoint could not be written");
    });
    await wait(clock, ENDPOINT_EVERY_MS, signal);
  }
}

async function findPod(kube: Kube, ref: ObjectRef, signal: AbortSignal): Promise<EnrollingPod | undefined> {
  try {
    return await kube.get(enrollingPods, ref, signal);
  } catch (error) {
    if (isKubeError(error, "not-found")) return undefined;
    throw error;
  }
}

async function unlessAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    signal.throwIfAborted();
    await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
