import { systemClock } from "../../common/clock.ts";
import { silentLog } from "../../common/log.ts";
import { FINALIZER } from "../../common/names.ts";
import { type Experiment, experimentResource } from "../../kube/experiments.ts";
import { keyOf } from "../../kube/object-key.ts";
import { Reflector } from "../../kube/reflector.ts";
import { authoredByAdmin } from "../support/authors.ts";
import type { Arena } from "./arena.ts";

const networkChaos = experimentResource("NetworkChaos");
const PATIENCE_MS = 120_000;

/** Creates and deletes experiments as a person does, and sees by a watch what becomes of them. */
export interface People {
  /** On the pod of this number. Milliseconds from the API server's answer until the status says that the fault is in force. */
  apply(name: string, pod: number): Promise<number>;
  /** Milliseconds from the API server's answer until the experiment is gone. */
  remove(name: string): Promise<number>;
  /** Experiments that there are. */
  readonly count: number;
  close(): Promise<void>;
}

/** Pods are told apart by their label `n`. */
export async function startPeople({ kube, namespace }: Pick<Arena, "kube" | "namespace">): Promise<People> {
  const known = new Reflector<Experiment>({ kube, resource: networkChaos, scope: { namespace }, clock: systemClock, log: silentLog });
  const waits = new Map<string, () => void>();
  known.onChange((key) => waits.get(key)?.());
  known.start();
  await known.synced();

  /** Milliseconds until it is so. */
  async function waitUntil(name: string, isSo: (experiment: Experiment | undefined) => boolean): Promise<number> {
    const begunMs = performance.now();
    const key = keyOf({ namespace, name });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const look = (): void => (isSo(known.get(key)) ? resolve() : undefined);
    const timer = setTimeout(() => reject(new Error(`${name} got stuck: ${JSON.stringify(known.get(key)?.status)}`)), PATIENCE_MS);
    waits.set(key, look);
    look();
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      waits.delete(key);
    }
    return performance.now() - begunMs;
  }

  return {
    async apply(name, pod) {
      await kube.create(networkChaos, {
        metadata: { namespace, name, annotations: authoredByAdmin, finalizers: [FINALIZER] },
        spec: {
          action: "partition",
          mode: "all",
          selector: { namespaces: [namespace], labelSelectors: { n: String(pod) } },
          externalTargets: ["203.0.113.0/24"],
        },
      });
      return await waitUntil(
        name,
        (experiment) => experiment?.status.conditions?.some(({ type, status }) => type === "AllInjected" && status === "True") === true,
      );
    },
    async remove(name) {
      await kube.delete(networkChaos, { namespace, name });
      return await waitUntil(name, (experiment) => experiment === undefined);
    },
    get count() {
      return known.size;
    },
    close: () => known.close(),
  };
}
