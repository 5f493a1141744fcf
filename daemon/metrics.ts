import { Gauge, Registry } from "prom-client";
import type { Agent } from "../agent/agent.ts";
import { FaultState } from "../proto/gen/agent.ts";
import type { NodeFamily } from "./node-family.ts";

const nameOfState: Readonly<Record<number, string>> = Object.fromEntries(Object.entries(FaultState).map(([name, value]) => [value, name]));

/** Gauges are read when somebody scrapes. */
export function createDaemonMetrics({
  agent,
  families,
  runtime,
}: {
  readonly agent: Pick<Agent, "report">;
  readonly families: readonly Pick<NodeFamily, "name" | "missing">[];
  /** Why the container runtime does not answer now; undefined while it does. */
  readonly runtime: { readonly outage: string | undefined };
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
  ];
  for (const gauge of gauges) registry.registerMetric(gauge);
  return registry;
}
