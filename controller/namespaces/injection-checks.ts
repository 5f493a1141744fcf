import { type ModelPod, planSamples } from "../../api/injection-sample.ts";
import { type NamespaceVerdict, parseVerdict, renderVerdict } from "../../api/injection-verdict.ts";
import { namespaceSettings } from "../../api/injection.ts";
import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import { annotations, labels, OPTED_IN } from "../../common/names.ts";
import { isKubeError } from "../../kube/errors.ts";
import type { Kube } from "../../kube/kube.ts";
import { Reflector } from "../../kube/reflector.ts";
import {
  type LimitRange,
  limitRanges,
  type Namespace,
  namespaces as namespaceResource,
  type Pod,
  type ResourceQuota,
  resourceQuotas,
} from "../../kube/resources.ts";
import { WorkQueue } from "../queue.ts";
import { type Fingerprint, type LastCheck, planCheck } from "./check-plan.ts";
import { isOptedIn } from "./opted-in.ts";
import { isOwnRightMissing, tryInjection } from "./trials.ts";

export interface InjectionChecksOptions {
  readonly kube: Kube;
  /** Synced already. */
  readonly namespaces: Pick<Reflector<Namespace>, "get" | "list" | "onChange">;
  readonly pods: () => readonly Pod[];
  readonly clock: Clock;
  readonly log: Log;
  /** The end of the leadership. */
  readonly signal: AbortSignal;
}

export interface InjectionChecks {
  close(): Promise<void>;
}

const WITHOUT_RIGHT_MS = 10 * 60_000;
const POD_SECURITY = "pod-security.kubernetes.io/";

/**
 * Keeps the verdict on every namespace that opted in: whether its policies would refuse a pod with a sidecar. The injector leaves pods of a
 * refusing namespace as they are, so that a policy costs the sidecar and not the application. Nothing waits for these checks: without a
 * verdict pods are injected.
 */
export function startInjectionChecks({ kube, namespaces, pods, clock, log, signal }: InjectionChecksOptions): InjectionChecks {
  const quotas = new Reflector({ kube, resource: resourceQuotas, clock, log });
  const ranges = new Reflector({ kube, resource: limitRanges, clock, log });
  const ofNamespace = ({ metadata }: ResourceQuota | LimitRange): readonly string[] => [metadata.namespace ?? ""];
  const quotasIn = quotas.addIndex(ofNamespace);
  const rangesIn = ranges.addIndex(ofNamespace);
  const last = new Map<string, LastCheck>();
  const queue = new WorkQueue({
    clock,
    // dry runs pass every admission of the cluster: they are not to be felt
    workers: 2,
    visit,
    onError: (namespace, error) => {
      if (!signal.aborted) log.warn({ namespace, err: error }, "a check of a namespace failed and is repeated");
    },
  });

  async function visit(name: string): Promise<void> {
    // a namespace that is looked at without its quotas and limit ranges would be misjudged; all are added once they are there
    if (!quotas.isSynced || !ranges.isSynced) return;
    const namespace = namespaces.get(name);
    if (namespace === undefined || !isOptedIn(namespace)) {
      last.delete(name);
      if (namespace !== undefined && namespace.metadata.deletionTimestamp === undefined) await write(namespace, undefined);
      return;
    }
    const rules = { quotas: quotasIn(name), ranges: rangesIn(name) };
    const fingerprint = fingerprintOf(namespace, rules);
    const before = last.get(name);
    const waitMs = planCheck(before, fingerprint, clock.monotonicMs());
    if (waitMs > 0) return queue.addAfter(name, waitMs);
    try {
      const verdict = await check(namespace, rules);
      await write(namespace, renderVerdict(verdict));
      const recorded = {
        fingerprint,
        atMs: clock.monotonicMs(),
        isConfirmed: before?.fingerprint.rules === fingerprint.rules,
        isOpen: Object.values(verdict).some(({ is }) => is === "unknown"),
      };
      last.set(name, recorded);
      queue.addAfter(name, planCheck(recorded, fingerprint, clock.monotonicMs()));
    } catch (error) {
      if (!isKubeError(error, "forbidden") || !isOwnRightMissing(error.message)) throw error;
      log.warn({ namespace: name, err: error }, "namespaces cannot be checked for policies that refuse sidecars: a right is missing");
      queue.addAfter(name, WITHOUT_RIGHT_MS);
    }
  }

  async function check(namespace: Namespace, rules: NamespaceRules): Promise<NamespaceVerdict> {
    const { name } = namespace.metadata;
    const samples = planSamples(
      name,
      {
        quotas: rules.quotas.map(({ spec }) => spec.hard),
        minima: rules.ranges.flatMap(({ spec }) => spec.limits.flatMap(({ min }) => (min === undefined ? [] : [min]))),
      },
      modelPod(pods().filter(({ metadata }) => metadata.namespace === name)),
    );
    return await tryInjection(kube, samples, parseVerdict(namespace.metadata.annotations?.[annotations.injectionVerdict]), signal);
  }

  async function write({ metadata }: Namespace, verdict: string | undefined): Promise<void> {
    if (metadata.annotations?.[annotations.injectionVerdict] === verdict) return;
    const body = { metadata: { annotations: { [annotations.injectionVerdict]: verdict ?? null } } };
    await kube.patch(namespaceResource, { name: metadata.name }, body, { type: "merge" }, signal);
    log.info({ namespace: metadata.name, verdict }, "injection verdict changed");
  }

  const addNamespaceOf = (key: string): void => queue.add(key.slice(0, key.indexOf("/")));
  const offs = [namespaces.onChange((name) => queue.add(name)), quotas.onChange(addNamespaceOf), ranges.onChange(addNamespaceOf)];
  quotas.start();
  ranges.start();
  const starting = Promise.all([quotas.synced(), ranges.synced()]).then(
    () => {
      for (const { metadata } of namespaces.list()) queue.add(metadata.name);
    },
    () => undefined, // closed before that
  );
  return {
    async close() {
      for (const off of offs) off();
      await Promise.all([quotas.close(), ranges.close(), starting]);
      await queue.close();
    },
  };
}

interface NamespaceRules {
  readonly quotas: readonly ResourceQuota[];
  readonly ranges: readonly LimitRange[];
}

function fingerprintOf({ metadata }: Namespace, { quotas, ranges }: NamespaceRules): Fingerprint {
  const security = Object.entries(metadata.labels ?? {}).filter(([key]) => key.startsWith(POD_SECURITY));
  const settings = Object.values(namespaceSettings).map((key) => metadata.annotations?.[key] ?? "");
  const versions = ranges.map((range) => `${range.metadata.uid} ${range.metadata.resourceVersion}`);
  return {
    rules: JSON.stringify([security, settings, quotas.map(({ spec }) => spec.hard), versions]),
    usage: JSON.stringify(quotas.map(({ status }) => status.used)),
  };
}

/** The youngest pod that asks for a sidecar. */
function modelPod(pods: readonly Pod[]): ModelPod | undefined {
  const [found] = pods
    .filter(({ metadata }) => metadata.labels?.[labels.inject] === OPTED_IN)
    .toSorted((a, b) => b.metadata.creationTimestamp.localeCompare(a.metadata.creationTimestamp));
  return found && { labels: found.metadata.labels ?? {}, image: found.spec.containers[0]?.image };
}
