import { createHash } from "node:crypto";
import { isJsonObject, type JsonObject } from "../api/json.ts";
import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import type { Kube } from "../kube/kube.ts";
import { events } from "../kube/resources.ts";
import type { Injector } from "./inject.ts";

const SILENCE_MS = 10 * 60_000;
const MOST_REMEMBERED = 10_000;

/** Writes one event for each owner and reason in ten minutes: a Deployment of a thousand pods complains once. */
export function createSkipEvents({
  kube,
  clock,
  log,
}: {
  readonly kube: Kube;
  readonly clock: Clock;
  readonly log: Log;
}): Injector["onSkip"] {
  const told = new Map<string, number>();
  return ({ namespace, pod, code, message }) => {
    const owner = ownerOf(pod);
    if (!owner) return;
    const key = `${namespace}/${owner.uid}/${code}`;
    const nowMs = clock.monotonicMs();
    if (nowMs - (told.get(key) ?? -Infinity) < SILENCE_MS) return;
    if (told.size >= MOST_REMEMBERED) told.clear();
    told.set(key, nowMs);
    const time = clock
      .now()
      .toISOString()
      .replace(/\.\d+Z$/, "Z");
    const name = `${owner.name.slice(0, 200)}.${createHash("sha256").update(`${key}${time}`).digest("hex").slice(0, 16)}`;
    const body = {
      metadata: { name, namespace },
      involvedObject: { ...owner, namespace },
      type: "Warning",
      reason: code,
      message: `Pods get no sidecar: ${message}`,
      count: 1,
      firstTimestamp: time,
      lastTimestamp: time,
      source: { component: "squall-webhook" },
    };
    kube
      .create(events, body)
      .catch((error: unknown) => log.warn({ err: error, namespace, owner: owner.name }, "an event could not be written"));
  };
}

interface Owner {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
}

function ownerOf({ metadata }: JsonObject): Owner | undefined {
  const references: readonly unknown[] =
    isJsonObject(metadata) && Array.isArray(metadata["ownerReferences"]) ? metadata["ownerReferences"] : [];
  const owner = references.find((reference) => isJsonObject(reference) && reference["controller"] === true);
  if (!isJsonObject(owner)) return undefined;
  const { apiVersion, kind, name, uid } = owner;
  return typeof apiVersion === "string" && typeof kind === "string" && typeof name === "string" && typeof uid === "string"
    ? { apiVersion, kind, name, uid }
    : undefined;
}
