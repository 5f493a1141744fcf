import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import { DAEMON, SYSTEM_NAMESPACE, UNINSTALL_FINALIZER } from "../../common/names.ts";
import { isKubeError } from "../../kube/errors.ts";
import type { Change, Kube, KubeObject, ObjectRef, Resource } from "../../kube/kube.ts";
import {
  clusterRoleBindings,
  clusterRoles,
  daemonSets,
  deployments,
  leases,
  roleBindings,
  roles,
  serviceAccounts,
} from "../../kube/resources.ts";
import { wait } from "../../kube/wait.ts";
import { OWN_NAME, type UninstallNotice } from "./notice.ts";

interface Hold {
  readonly resource: Resource<KubeObject>;
  readonly ref: ObjectRef;
}

/** Rights apart, with the policy that narrows them: manifests/guarded.yaml. They may not be installed. */
const GUARDED_NAME = `${OWN_NAME}-guarded`;

/** What pod-failure takes images back with, apart for the same reason. */
const IMAGES_NAME = "squall-podchaos-guarded";

const rightsOf = (name: string): readonly Hold[] => [
  { resource: clusterRoles, ref: { name } },
  { resource: clusterRoleBindings, ref: { name } },
  { resource: roles, ref: { namespace: SYSTEM_NAMESPACE, name } },
  { resource: roleBindings, ref: { namespace: SYSTEM_NAMESPACE, name } },
];
const own = { namespace: SYSTEM_NAMESPACE, name: OWN_NAME };
const deployment: Hold = { resource: deployments, ref: own };
/** Daemons take their faults back when they end, but then nobody could say so. */
const daemon: Hold = { resource: daemonSets, ref: { namespace: SYSTEM_NAMESPACE, name: DAEMON } };
const account: Hold = { resource: serviceAccounts, ref: own };
/** What the controller cannot do without until everything is cleaned up, what it can do without soonest first. */
const holds: readonly Hold[] = [
  daemon,
  { resource: clusterRoles, ref: { name: IMAGES_NAME } },
  { resource: clusterRoleBindings, ref: { name: IMAGES_NAME } },
  ...rightsOf(OWN_NAME),
  ...rightsOf(GUARDED_NAME),
  account,
  deployment,
];

export interface KeepHoldsOptions {
  readonly kube: Kube;
  readonly notice: Pick<UninstallNotice, "onChange">;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

const EVERY_MS = 30_000;
const RETRY_MS = 5_000;
/** `kubectl delete -k` deletes one object after the other: within this time the rest follows, or it is no uninstallation. */
const PARTIAL_MS = 10_000;

/**
 * Puts our finalizer on what the controller cannot do without, and keeps it there until the signal is aborted, which it is when Squall is
 * uninstalled. Put on by the leader and not in the manifests: an installation that never ran can be deleted like anything else. What is
 * deleted without the rest is let go.
 */
export async function keepHolds({ kube, notice, clock, log, signal }: KeepHoldsOptions): Promise<void> {
  let wake = new AbortController();
  let lastReason = "";
  const off = notice.onChange(() => wake.abort());
  const fail = (error: unknown): void => {
    const reason = error instanceof Error ? error.message : String(error);
    // The same reason again is no change of state.
    if (signal.aborted || reason === lastReason) return;
    lastReason = reason;
    if (isKubeError(error, "forbidden")) log.info({ reason }, "no right to hold what an uninstallation needs: delete experiments first");
    else log.warn({ reason }, "what an uninstallation needs could not be held");
  };
  try {
    while (!signal.aborted) {
      wake = new AbortController();
      let waitMs = EVERY_MS;
      await holdAndLetGo({ kube, clock, log, signal }).catch((error: unknown) => {
        waitMs = RETRY_MS;
        fail(error);
      });
      await wait(clock, waitMs, AbortSignal.any([wake.signal, signal]));
    }
  } finally {
    off();
  }
}

async function holdAndLetGo({ kube, clock, log, signal }: Omit<KeepHoldsOptions, "notice">): Promise<void> {
  const going = await hold(kube, signal);
  if (going.length === 0) return;
  await wait(clock, PARTIAL_MS, signal);
  if (signal.aborted) return;
  log.info({ objects: going.map(({ resource, ref }) => `${resource.kind}/${ref.name}`) }, "deleted without the rest, so let go");
  await kube.changeTogether(await planRelease(kube, going, signal), signal);
}

/** Gives those that are being deleted. */
async function hold(kube: Kube, signal: AbortSignal): Promise<readonly Hold[]> {
  const going: Hold[] = [];
  for (const one of holds) {
    const found = await find(kube, one, signal);
    if (found === undefined || isHeldAndStaying(found)) continue;
    if (found.metadata.deletionTimestamp !== undefined) going.push(one);
    else await addFinalizer(kube, one, found, signal);
  }
  return going;
}

const isHeldAndStaying = ({ metadata }: KubeObject): boolean =>
  metadata.deletionTimestamp === undefined && metadata.finalizers?.includes(UNINSTALL_FINALIZER) === true;

async function addFinalizer(kube: Kube, { resource, ref }: Hold, { metadata }: KubeObject, signal: AbortSignal): Promise<void> {
  const { resourceVersion, finalizers = [] } = metadata;
  // Guarded by the version, so that nobody else's finalizer is lost.
  const body = { metadata: { resourceVersion, finalizers: [...finalizers, UNINSTALL_FINALIZER] } };
  await kube.patch(resource, ref, body, { type: "merge" }, signal);
}

/** Far more than it takes. */
const LAST_ACT_MS = 20_000;

/**
 * The last act of an uninstallation: takes our finalizer off everything, and the Lease away. No right is left for the last of these when
 * the first are done, so the API server lets all of them in before one is made. Once begun it is not broken off: neither by the end of
 * the leadership, which goes with the Lease, nor by that of the pod, which goes with the Deployment.
 */
export async function releaseAll(kube: Kube, signal: AbortSignal): Promise<void> {
  const lease: Change = { do: "delete", resource: leases, ref: own };
  const changes = [lease, ...(await planRelease(kube, holds, signal))];
  await kube.changeTogether(changes, AbortSignal.timeout(LAST_ACT_MS));
}

async function planRelease(kube: Kube, some: readonly Hold[], signal: AbortSignal): Promise<readonly Change[]> {
  const changes: Change[] = [];
  for (const { resource, ref } of some) {
    const index = (await find(kube, { resource, ref }, signal))?.metadata.finalizers?.indexOf(UNINSTALL_FINALIZER) ?? -1;
    if (index === -1) continue;
    const path = `/metadata/finalizers/${index}`;
    const body = [
      { op: "test", path, value: UNINSTALL_FINALIZER },
      { op: "remove", path },
    ];
    changes.push({ do: "patch", resource, ref, body, options: { type: "json" } });
  }
  return changes;
}

async function find(kube: Kube, { resource, ref }: Hold, signal: AbortSignal): Promise<KubeObject | undefined> {
  try {
    return await kube.get(resource, ref, signal);
  } catch (error) {
    if (isKubeError(error, "not-found")) return undefined;
    throw error;
  }
}
