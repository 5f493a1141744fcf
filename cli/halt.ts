import { setTimeout as sleep } from "node:timers/promises";
import { isKubeError } from "../kube/errors.ts";
import { clusterHalts, type Halt, halts } from "../kube/limit-resources.ts";
import type { Kube, ObjectRef, Resource } from "../kube/kube.ts";

/** Where a halt holds: in one namespace, or everywhere. */
export type HaltScope = { readonly namespace: string } | "cluster";

/** Name of the halts that `squall halt` makes. */
const NAME = "stop";
const WAIT_MS = 90_000;

function placeOf(scope: HaltScope): { readonly resource: Resource<Halt>; readonly ref: ObjectRef; readonly where: string } {
  if (scope === "cluster") return { resource: clusterHalts, ref: { name: NAME }, where: "the cluster" };
  return { resource: halts, ref: { namespace: scope.namespace, name: NAME }, where: `namespace ${scope.namespace}` };
}

/** Halts, and waits until nothing is faulted any more, or says what is left after 90 s. Resolves to whether nothing is. */
export async function halt(
  kube: Kube,
  scope: HaltScope,
  { reason, say }: { readonly reason: string | undefined; readonly say: (text: string) => void },
): Promise<boolean> {
  const { resource, ref, where } = placeOf(scope);
  const { group, version, kind } = resource;
  try {
    await kube.create(resource, {
      apiVersion: `${group}/${version}`,
      kind,
      metadata: { ...ref },
      spec: reason === undefined ? {} : { reason },
    });
    say(`Halted ${where}: running experiments end, new ones are refused.`);
  } catch (error) {
    if (!isKubeError(error, "already-exists")) throw error;
    say(`There is a halt in ${where} already.`);
  }
  const limit = Date.now() + WAIT_MS;
  for (;;) {
    const { status } = await kube.get(resource, ref);
    const condition = status.conditions?.find(({ type }) => type === "Halted");
    if (condition?.status === "True") {
      say(condition.message);
      return true;
    }
    if (Date.now() > limit) {
      say(
        condition?.message ?? "No controller has taken the halt up. Faults end with their leases; see kubectl get pods -n squall-system.",
      );
      return false;
    }
    await sleep(200);
  }
}

/** Deletes every halt there, whoever made it; throws what the API server says to one that the person may not delete. */
export async function resume(kube: Kube, scope: HaltScope, say: (text: string) => void): Promise<void> {
  const { resource, where } = placeOf(scope);
  const { items } = await kube.list(resource, scope === "cluster" ? {} : scope);
  for (const { metadata } of items) await kube.delete(resource, { namespace: metadata.namespace, name: metadata.name });
  const made = items.length === 0 ? `There is no halt in ${where}.` : `The halt of ${where} is gone.`;
  say(`${made} What was stopped stays stopped: apply it anew if you still want it.`);
}
