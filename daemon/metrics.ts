import { Gauge, Registry } from "prom-client";
import type { Agent } from "../agent/agent.ts";
import { FaultState } from "../proto/gen/agent.ts";
import type { NodeFamily } from "./node-family.ts";
import type { PodVolumeState } from "./volumes/pod-volumes.ts";

const nameOfState: Readonly<Record<number, string>> = Object.fromEntries(Object.entries(FaultState).map(([name, value]) => [value, name]));

/** Gauges are read when somebody scrapes. */
export function createDaemonMetrics({
  agent,
  families,
  runtime,
  volumeStates,
}: {
  readonly agent: Pick<Agent, "report">;
  readonly families: readonly Pick<NodeFamily, "name" | "missing">[];
  /** Why the container runtime does not answer now; undefined while it does. */
  readonly runtime: { readonly outage: string | undefined };
  /** Of the volumes of this node's pods that are, or were to be, served through FUSE. */
  readonly volumeStates: () => readonly PodVolumeState[];
}): Registry {
  const registry = new Registry();
  const gauges = [
    new Gauge({
      name: "squall_daemon_faults",
      help: "Faults of this node by state and reason.",
      labelNames: ["state", "reason"] as const,
      registers: [],
      collect() {
        this.reset();
        for (const { state, reason } of agent.report().faults) this.inc({ state: nameOfState[state] ?? "UNKNOWN", reason });
      },
    }),
    new Gauge({
      name: "squall_daemon_family_usable",
      help: "1 where faults of this family can be carried out on this node.",
      labelNames: ["family"] as const,
      registers: [],
      collect() {
        for (const { name, missing } of families) this.set({ family: name }, missing === undefined ? 1 : 0);
      },
    }),
    new Gauge({
      name: "squall_daemon_runtime_up",
      help: "1 while the container runtime answers.",
      registers: [],
      collect() {
        this.set(runtime.outage === undefined ? 1 : 0);
      },
    }),
    new Gauge({
      name: "squall_daemon_volumes",
      help: "Volumes of this node's pods that file faults can be on: served, mounted and waiting for their sidecar, or refused.",
      labelNames: ["state"] as const,
      registers: [],
      collect() {
        for (const state of ["serving", "waiting", "refused"] satisfies PodVolumeState[]) this.set({ state }, 0);
        for (const state of volumeStates()) this.inc({ state });
      },
    }),
  ];
  for (const gauge of gauges) registry.registerMetric(gauge);
  return registry;
}
