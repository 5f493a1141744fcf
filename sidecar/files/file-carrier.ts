import type { Carrier, Moment } from "../../agent/carrier.ts";
import type { Refusal } from "../../agent/plan.ts";
import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import type { Fault, Passport } from "../../proto/gen/agent.ts";
import type { IoFault } from "../../proto/gen/faults.ts";
import { explainOperations } from "./explain-operations.ts";
import type { FileServers } from "./file-servers.ts";
import { receiptOf } from "./receipt.ts";
import type { ServedFault } from "./server-messages.ts";
import { createTeller } from "./teller.ts";
import type { VolumeState } from "./volume-keeper.ts";
import { within } from "./within.ts";

/** Why a fault waits for its volume. */
export const VOLUME_NOT_MOUNTED = "VolumeNotMounted";

const COUNT_WITHIN_MS = 1_000;

interface VolumeFault {
  readonly fault: Fault;
  readonly io: IoFault;
}

/** Carries out faults of files: tells the server of each volume which there are, and for how long. */
export function createFileCarrier({
  servers,
  passport,
  clock,
  log,
}: {
  readonly servers: FileServers;
  readonly passport: () => Passport;
  readonly clock: Clock;
  readonly log: Log;
}): Carrier {
  const teller = createTeller({ servers, clock, log });

  async function visit(faults: readonly VolumeFault[], { remainingMs, beforeReplacing }: Moment): Promise<readonly Refusal[]> {
    const states = servers.state();
    const refused = faults.flatMap(({ fault, io }) => {
      const problem = servers.refusalOf(io) ?? problemOf(io.volume, states);
      return problem === undefined ? [] : [{ faultId: fault.id, ...problem }];
    });
    const wanted = Map.groupBy(
      faults
        .filter(({ io }) => isServable(states.get(io.volume)) && servers.refusalOf(io) === undefined)
        .toSorted((one, other) => (one.fault.id < other.fault.id ? -1 : 1)),
      ({ io }) => io.volume,
    );
    const goes = teller.volumes.some((volume) => {
      const kept = new Set((wanted.get(volume) ?? []).map(({ fault }) => fault.id));
      return teller.idsOf(volume).some((id) => !kept.has(id));
    });
    // A count that cannot be read must not keep a fault from being taken back.
    if (goes) await beforeReplacing().catch((error: unknown) => log.warn({ err: error }, "last receipts could not be read"));
    const failed = await Promise.all(
      [...new Set([...teller.volumes, ...wanted.keys()])].map((volume) => {
        const own = (wanted.get(volume) ?? []).map(({ fault, io }): ServedFault => ({ id: fault.id, io, remainingMs: remainingMs(fault) }));
        return teller.tell(volume, own);
      }),
    );
    return [...refused, ...failed.flat()];
  }

  return {
    get passport() {
      return passport();
    },
    hasReceiptsAtHand: false,
    get isIdle() {
      return teller.volumes.length === 0;
    },
    prepare: () => Promise.resolve(),
    converge: (faults, moment) => visit(faults.flatMap(volumeFault), moment),
    onChange: (callback) => servers.onChange(callback),
    remarkOf: () => undefined,
    resolvedOf: () => [],
    explain: (faults) => faults.flatMap(volumeFault).map(({ fault, io }) => explainOperations(fault.experiment, io)),
    async readReceipts(faultIds) {
      const states = servers.state();
      const volumes = teller.volumes.filter(
        (volume) => states.get(volume)?.is === "serving" && teller.idsOf(volume).some((id) => faultIds.includes(id)),
      );
      const counts = await Promise.all(
        volumes.map((volume) =>
          within(COUNT_WITHIN_MS, servers.count(volume), clock).catch((error: unknown) => {
            log.warn({ err: error, volume }, "what faults of a volume did could not be read");
            return [];
          }),
        ),
      );
      return new Map(
        counts
          .flat()
          .filter(({ id }) => faultIds.includes(id))
          .map((one) => [one.id, receiptOf(one)]),
      );
    },
    close: () => Promise.resolve(),
  };
}

const volumeFault = (fault: Fault): readonly VolumeFault[] => (fault.family?.$case === "io" ? [{ fault, io: fault.family.value }] : []);

const isServable = (state: VolumeState | undefined): boolean => state !== undefined && state.is !== "refused";

function problemOf(volume: string, states: ReadonlyMap<string, VolumeState>): Omit<Refusal, "faultId"> | undefined {
  const state = states.get(volume);
  switch (state?.is) {
    case "serving":
      return undefined;
    case "waiting":
      return {
        reason: VOLUME_NOT_MOUNTED,
        message:
          state.why === undefined
            ? `The daemon of the node has not mounted volume ${volume} yet, or the server of the volume is started again.`
            : `Volume ${volume} is not served yet. ${state.why}`,
        isTransient: true,
      };
    case "refused":
      return { reason: "VolumeNotServed", message: `Volume ${volume} is not served: ${state.reason}: ${state.message}` };
    case undefined: {
      const known = [...states].flatMap(([name, { is }]) => (is === "refused" ? [] : [name]));
      return {
        reason: "VolumeNotServed",
        message: `Volume ${volume} of this pod is not served through FUSE; ${known.length === 0 ? "no volume is" : `served: ${known.join(", ")}`}. Name it in the pod's annotation squall.dev/volumes and make the pod anew.`,
      };
    }
  }
}
