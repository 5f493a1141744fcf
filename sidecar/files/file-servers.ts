import type { ExplainedVolume } from "../../api/pod-explanation.ts";
import type { Passport } from "../../proto/gen/agent.ts";
import type { Refusal } from "../../agent/plan.ts";
import type { IoFault } from "../../proto/gen/faults.ts";
import type { Counts, ServedFault } from "./server-messages.ts";
import type { VolumeState } from "./volume-keeper.ts";

/** Volumes of the pod and their servers, as far as faults need them: what a VolumeKeeper does. */
export interface FileServers {
  /** Of every volume that the pod wants to have served, by name. */
  state(): ReadonlyMap<string, VolumeState>;
  /** Why such a fault is not carried out here, whatever state its volume is in; undefined for one that is. */
  refusalOf(io: IoFault): Omit<Refusal, "faultId"> | undefined;
  /**
   * The complete set of faults of a volume, in the order of their ids: in force once it resolves, and with the servers that follow the present one
   * from their start on.
   */
  rule(volume: string, faults: readonly ServedFault[]): Promise<void>;
  /** What the faults of a volume did so far. */
  count(volume: string): Promise<readonly Counts[]>;
  /** Calls back when the state of a volume changed. */
  onChange(callback: () => void): void;
}

/** Of a pod that named no volumes. */
export const noFileServers: FileServers = {
  state: () => new Map(),
  refusalOf: () => undefined,
  rule: () => Promise.resolve(),
  count: () => Promise.resolve([]),
  onChange: () => undefined,
};

/** The passport of a pod with these volumes. */
export function withVolumes(passport: Passport, states: ReadonlyMap<string, VolumeState>): Passport {
  const volumes = [...states].flatMap(([name, { is }]) => (is === "refused" ? [] : [name]));
  return volumes.length === 0 ? passport : { ...passport, familiesOfFaults: [...passport.familiesOfFaults, "io"], volumes };
}

export const explainVolumes = (states: ReadonlyMap<string, VolumeState>): ExplainedVolume[] =>
  [...states].map(([name, state]) => ({
    name,
    state: state.is,
    reason: state.is === "refused" ? state.reason : "",
    message: state.is === "refused" ? state.message : "",
  }));
