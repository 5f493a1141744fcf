import { isDeepStrictEqual } from "node:util";
import type { HaltStatus } from "../api/kinds/halt.ts";
import { actsOf } from "../api/policy/acts.ts";
import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import { isKubeError } from "../kube/errors.ts";
import type { Experiment } from "../kube/experiments.ts";
import type { Kube } from "../kube/kube.ts";
import { clusterHalts, type Halt, halts } from "../kube/limit-resources.ts";
import { describeHalt } from "../kube/limits.ts";
import { countOf } from "./conditions.ts";
import { timeOf } from "./records.ts";
import type { World } from "./world.ts";

/** Changes come in crowds while a halt does its work. */
const EVERY_MS = 200;

/** Keeps the status of each halt: how many experiments it stopped, and how many targets may still have a fault. */
export function startHaltReports({
  kube,
  world,
  clock,
  log,
  signal,
}: {
  readonly kube: Kube;
  readonly world: World;
  readonly clock: Clock;
  readonly log: Log;
  /** The end of the leadership. */
  readonly signal: AbortSignal;
}): { close(): Promise<void> } {
  let disarm: (() => void) | undefined;
  let working: Promise<void> = Promise.resolve();
  const wake = (waitMs: number): void => {
    disarm ??= clock.after(waitMs, () => {
      disarm = undefined;
      working = working.then(report);
    });
  };
  const wakeSoon = (): void => wake(EVERY_MS);
  // Halts, too: there may be no experiment that anything concerns, and a status that was compared with an old copy is looked at once more.
  const offs = [world.onChange(wakeSoon), world.limits.onHaltChange(wakeSoon)];
  wake(0);

  const known = new WeakMap<Experiment, Reaching>();
  const reachOf = (experiment: Experiment): Reaching => {
    const found = known.get(experiment) ?? readReach(experiment);
    known.set(experiment, found);
    return found;
  };

  async function report(): Promise<void> {
    const found = world.limits.halts();
    if (found.length === 0) return;
    const experiments = world.experiments().map(({ experiment }) => reachOf(experiment));
    for (const halt of found) {
      const status = planHaltStatus(halt, experiments, clock.now());
      if (isDeepStrictEqual(status, halt.status) || signal.aborted) continue;
      const { namespace, name } = halt.metadata;
      try {
        await kube.patch(
          namespace === undefined ? clusterHalts : halts,
          { namespace, name },
          { status },
          { type: "merge", subresource: "status" },
          signal,
        );
      } catch (error) {
        if (signal.aborted || isKubeError(error, "not-found")) continue;
        log.warn({ halt: describeHalt(halt), err: error }, "the status of a halt could not be written");
        wake(EVERY_MS * 10);
      }
    }
  }

  return {
    async close() {
      for (const off of offs) off();
      disarm?.();
      await working;
    },
  };
}

/** An experiment, and where its targets may be. */
export interface Reaching {
  readonly experiment: Experiment;
  readonly namespaces: ReadonlySet<string> | "all";
  /** What was done once is not taken back. */
  readonly isOneShot: boolean;
}

export function readReach(experiment: Experiment): Reaching {
  const { kind, metadata, spec, status } = experiment;
  const acts = actsOf(kind, { spec }, { namespace: metadata.namespace ?? "" });
  const recorded = (status.experiment.containerRecords ?? []).map(({ id }) => id.slice(0, id.indexOf("/")));
  const isEverywhere = acts.some(({ namespaces }) => namespaces === "all");
  return {
    experiment,
    namespaces: isEverywhere ? "all" : new Set([...acts.flatMap(({ namespaces }) => namespaces), ...recorded]),
    isOneShot: acts.some((act) => act.isOneShot),
  };
}

/** What the status of a halt should say. */
export function planHaltStatus(halt: Halt, experiments: readonly Reaching[], now: Date): HaltStatus {
  const by = describeHalt(halt);
  const { namespace } = halt.metadata;
  const stopped = experiments.filter(({ experiment }) => experiment.status.halted?.by === by).length;
  const targetsLeft = experiments
    .filter(({ namespaces, isOneShot }) => !isOneShot && (namespace === undefined || namespaces === "all" || namespaces.has(namespace)))
    .flatMap(({ experiment }) => experiment.status.experiment.containerRecords ?? [])
    .filter(({ phase }) => phase !== "Not Injected").length;
  const isHalted = targetsLeft === 0;
  const what = `${countOf(stopped, "experiment")} stopped`;
  const message = isHalted
    ? `${what}; nothing is faulted here.`
    : `${what}; ${countOf(targetsLeft, "target")} may still have a fault. What cannot be reached recovers when its lease is over.`;
  const old = halt.status.conditions?.find(({ type }) => type === "Halted");
  const status = isHalted ? "True" : "False";
  const lastTransitionTime = old?.status === status && old.lastTransitionTime !== undefined ? old.lastTransitionTime : timeOf(now);
  const reason = isHalted ? "NothingFaulted" : "Recovering";
  return { conditions: [{ type: "Halted", status, reason, message, lastTransitionTime }], stopped, targetsLeft };
}
