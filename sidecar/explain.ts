import { readFile, rename, writeFile } from "node:fs/promises";
import type { PodExplanation } from "../api/pod-explanation.ts";
import { countPackets, type CompiledClass } from "../agent/network/explain.ts";
import type { Programs } from "../agent/programs.ts";
import type { Log } from "../common/log.ts";
import { sidecarPaths } from "../common/sidecar-layout.ts";
import { type Fault, FaultState, type Passport, type Report } from "../proto/gen/agent.ts";

/** What is on disk for `explain`, a process of its own: everything but the counters. */
type Written = Omit<PodExplanation, "classes"> & { readonly classes: readonly CompiledClass[] };

/** Writes what is known after each visit; the newest wins, and a reader never sees half of it. */
export function writeExplanation(passport: Passport, log: Log): (report: Report, wanted: readonly Fault[], compiled: unknown) => void {
  let last: Promise<void> = Promise.resolve();
  return (report, wanted, compiled) => {
    const experimentOf = new Map(wanted.map(({ id, experiment }) => [id, experiment]));
    const stateNames = Object.fromEntries(Object.entries(FaultState).map(([name, value]) => [value, name]));
    const written: Written = {
      version: report.agentVersion,
      passport,
      faults: report.faults
        .filter(({ state }) => state !== FaultState.ENDED)
        .map(({ id, state, reason, message }) => ({
          id,
          experiment: experimentOf.get(id) ?? id,
          state: stateNames[state] ?? "UNKNOWN",
          reason,
          message,
        })),
      classes: compiled as readonly CompiledClass[], // made by explainNetwork alone
    };
    const text = JSON.stringify(written);
    last = last
      .then(() => writeFile(`${sidecarPaths.explained}.new`, text))
      .then(() => rename(`${sidecarPaths.explained}.new`, sidecarPaths.explained))
      .catch((error: unknown) => log.warn({ err: error }, "what is in force could not be written down"));
  };
}

/** The explanation with the packets that rules counted up to now, as JSON. */
export async function printExplanation(programs: Programs): Promise<string> {
  const written = JSON.parse(await readFile(sidecarPaths.explained, "utf8")) as Written;
  const { iptables, families } = written.passport;
  const saves = families.map((family) => `${family === "ipv4" ? "iptables" : "ip6tables"}-${iptables}-save`);
  const texts = await Promise.all(saves.map(async (name) => (await programs.run({ argv: [name, "-c"] })).stdout));
  return `${JSON.stringify({ ...written, classes: countPackets(written.classes, texts.join("\n")) })}\n`;
}
