import type { IoFault } from "../../../proto/gen/faults.ts";
import type { ServedFault } from "../../../sidecar/files/server-messages.ts";

/** Faults by their ids, of all that happens in the volume `data` unless they say otherwise. */
export const servedFaults = (faults: Readonly<Record<string, Partial<IoFault>>>, remainingMs: number): readonly ServedFault[] =>
  Object.entries(faults).map(([id, io]) => ({
    id,
    remainingMs,
    io: { volume: "data", mountPath: "/data", subPath: "", path: "", methods: [], percent: 100, effect: undefined, ...io },
  }));
