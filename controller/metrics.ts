import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { addressesOf, hasSidecar } from "../api/selection.ts";
import { labels, OPTED_IN } from "../common/names.ts";
import type { World } from "./world.ts";

export interface ControllerMetrics {
  readonly registry: Registry;
  /** Measures a visit; call the result at its end. */
  startVisit(): () => void;
  /** Targets that a deleted experiment left without a confirmation that the fault is lifted. */
  countUnconfirmed(targets: number): void;
}

/** Gauges are read from the caches when somebody scrapes. */
export function createMetrics(world: World, isLeading: () => boolean): ControllerMetrics {
  const registry = new Registry();
  const registers = [registry];
  const visits = new Counter({ name: "squall_controller_visits_total", help: "Visits to experiments.", registers });
  const durations = new Histogram({
    name: "squall_controller_visit_seconds",
    help: "Time of a visit to an experiment.",
    buckets: [0.001, 0.005, 0.025, 0.1, 0.5, 2.5],
    registers,
  });
  const unconfirmed = new Counter({
    name: "squall_recoveries_unconfirmed_total",
    help: "Targets of deleted experiments of which nobody confirmed that the fault is lifted; their leases lift it.",
    registers,
  });
  const gauges = [
    new Gauge({
      name: "squall_controller_leading",
      help: "1 while this replica leads.",
      registers: [],
      collect() {
        this.set(isLeading() ? 1 : 0);
      },
    }),
    new Gauge({
      name: "squall_controller_cache_age_seconds",
      help: "Time since the API server last said anything about the quietest kind that is watched.",
      registers: [],
      collect() {
        this.set((world.silentMs ?? 0) / 1000);
      },
    }),
    new Gauge({
      name: "squall_experiments",
      help: "Experiments by kind and desired phase.",
      labelNames: ["kind", "phase"] as const,
      registers: [],
      collect() {
        this.reset();
        for (const { key, experiment } of world.experiments())
          this.inc({ kind: key.kind, phase: experiment.status.experiment.desiredPhase ?? "None" });
      },
    }),
    new Gauge({
      name: "squall_targets",
      help: "Targets of experiments by kind, phase and reason.",
      labelNames: ["kind", "phase", "reason"] as const,
      registers: [],
      collect() {
        this.reset();
        for (const { key, experiment } of world.experiments()) {
          for (const { phase, reason = "" } of experiment.status.experiment.containerRecords ?? [])
            this.inc({ kind: key.kind, phase, reason });
        }
      },
    }),
    new Gauge({
      name: "squall_pods_not_injected",
      help: "Running pods that are labelled, in opted-in namespaces, and have no sidecar.",
      labelNames: ["namespace"] as const,
      registers: [],
      collect() {
        this.reset();
        for (const pod of world.pods()) {
          const { namespace = "", labels: found } = pod.metadata;
          const asked = found?.[labels.inject] === OPTED_IN && world.optInOf(namespace) !== "none";
          if (asked && !hasSidecar(pod) && addressesOf(pod).length > 0) this.inc({ namespace });
        }
      },
    }),
  ];
  for (const gauge of gauges) registry.registerMetric(gauge);
  return {
    registry,
    countUnconfirmed: (targets) => unconfirmed.inc(targets),
    startVisit() {
      visits.inc();
      return durations.startTimer();
    },
  };
}
