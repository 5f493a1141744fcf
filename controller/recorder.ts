import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import { isKubeError } from "../kube/errors.ts";
import type { Experiment } from "../kube/experiments.ts";
import type { Kube } from "../kube/kube.ts";
import { events as eventResource } from "../kube/resources.ts";
import { type ExperimentEvent, nameOfEvent } from "./events.ts";
import { timeOf } from "./records.ts";

/** Writes events beside the work: a visit does not wait for them, and one that cannot be written is only logged. */
export interface Recorder {
  record(experiment: Experiment, events: readonly ExperimentEvent[], sent: Set<string>): void;
  /** Resolves once all are written or given up. */
  idle(): Promise<void>;
}

const ANNOTATION_PREFIX = "chaos-mesh.org/";
/** The API server's limit on a message. */
const LONGEST_MESSAGE = 1024;

export function createRecorder({
  kube,
  clock,
  log,
  signal,
}: {
  readonly kube: Kube;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Recorder {
  const underWay = new Set<Promise<void>>();

  async function write({ metadata, kind, apiVersion }: Experiment, event: ExperimentEvent, name: string): Promise<void> {
    const { namespace = "default", uid, resourceVersion } = metadata;
    const time = timeOf(clock.now());
    const body = {
      metadata: {
        name,
        namespace,
        annotations: Object.fromEntries(Object.entries(event.annotations).map(([key, value]) => [`${ANNOTATION_PREFIX}${key}`, value])),
      },
      involvedObject: { apiVersion, kind, namespace, name: metadata.name, uid, resourceVersion },
      type: event.type,
      reason: event.reason,
      message: event.message.slice(0, LONGEST_MESSAGE),
      source: { component: event.component },
      count: 1,
      firstTimestamp: time,
      lastTimestamp: time,
    };
    try {
      await kube.create(eventResource, body, {}, signal);
    } catch (error) {
      // Somebody said it before: this process before a crash, or another leader.
      if (isKubeError(error, "already-exists") || signal.aborted) return;
      log.warn({ experiment: `${kind}/${namespace}/${metadata.name}`, reason: event.reason, err: error }, "event could not be written");
    }
  }

  return {
    record(experiment, events, sent) {
      for (const event of events) {
        const name = nameOfEvent(experiment.metadata, event);
        if (sent.has(name)) continue;
        sent.add(name);
        const writing = write(experiment, event, name).finally(() => underWay.delete(writing));
        underWay.add(writing);
      }
    },
    async idle() {
      while (underWay.size > 0) await Promise.all(underWay);
    },
  };
}
