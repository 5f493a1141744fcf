import type { Log } from "../common/log.ts";
import type { Fault, Passport, Receipt } from "../proto/gen/agent.ts";
import { type Carrier, type Moment, NotTakenBackError } from "./carrier.ts";
import type { Refusal } from "./plan.ts";

type FamilyName = NonNullable<Fault["family"]>["$case"];

/** A carrier and the families of faults that are its own. */
export interface Part {
  readonly families: readonly FamilyName[];
  readonly carrier: Carrier;
}

/**
 * Several carriers as one: each has the faults of its families. What one of them cannot do leaves the faults of the others alone: it comes back
 * as refusals of its own faults. `explain` answers with a list of what the parts explain, in their order.
 */
export function createJointCarrier({
  parts,
  passport,
  log,
}: {
  readonly parts: readonly Part[];
  /** What can be done here, by all parts together, when it is asked. */
  readonly passport: () => Passport;
  readonly log: Log;
}): Carrier {
  /** Of each part the faults that may be in force: those of its visits since one came to a good end. */
  const suspects = new Map<Part, ReadonlySet<string>>();
  /** Who counts for a fault, by its id; receipts are asked for when its message may be gone. */
  const counters = new Map<string, Part>();
  const partOf = (fault: Fault): Part | undefined => parts.find(({ families }) => families.some((name) => name === fault.family?.$case));
  const own = (part: Part, faults: readonly Fault[]): readonly Fault[] => faults.filter((fault) => partOf(fault) === part);
  /** Calls every part and gives what those answer that can; what others say is logged. */
  async function gather<T>(message: string, call: (part: Part) => Promise<T>): Promise<readonly T[]> {
    const settled = await Promise.allSettled(parts.map(call));
    return settled.flatMap((one) => {
      if (one.status === "fulfilled") return [one.value];
      log.warn({ err: one.reason }, message);
      return [];
    });
  }

  async function visit(part: Part, faults: readonly Fault[], moment: Moment): Promise<readonly Refusal[]> {
    const wanted = new Set(faults.map(({ id }) => id));
    const before = suspects.get(part) ?? new Set();
    suspects.set(part, new Set([...before, ...wanted]));
    try {
      const refusals = await part.carrier.converge(faults, moment);
      suspects.set(part, wanted);
      return refusals;
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const failed = faults.map(({ id }) => ({ faultId: id, reason: "ApplyFailed", message, isTransient: true }));
      if (!(error instanceof NotTakenBackError)) {
        log.error({ err: error, families: part.families }, "faults could not be applied; they were taken back and are tried again");
        suspects.set(part, wanted);
        return failed;
      }
      log.error({ err: error, families: part.families }, "faults could not be taken back; it is tried again");
      const stuck = [...before].filter((id) => !wanted.has(id));
      return [...failed, ...stuck.map((id) => ({ faultId: id, reason: "RecoverFailed", message, isTransient: true }))];
    }
  }

  return {
    get passport() {
      return passport();
    },
    hasReceiptsAtHand: parts.every(({ carrier }) => carrier.hasReceiptsAtHand),
    get isIdle() {
      return parts.every(({ carrier }) => carrier.isIdle);
    },
    async prepare(faults) {
      await gather("what faults need could not be made ready", (part) => part.carrier.prepare(own(part, faults)));
    },
    async converge(faults, moment) {
      for (const fault of faults) {
        const part = partOf(fault);
        if (part !== undefined) counters.set(fault.id, part);
      }
      const refused: Refusal[] = faults
        .filter((fault) => partOf(fault) === undefined)
        .map(({ id, family }) => ({
          faultId: id,
          reason: "NotYetSupported",
          message: `This agent cannot carry out ${family === undefined ? "a kind of fault that it does not know" : `${family.$case} faults`}. Is it older than the controller?`,
        }));
      // One after the other: a part that is about to replace something has the receipts of all of them read, which are to stand still then.
      for (const part of parts) refused.push(...(await visit(part, own(part, faults), moment)));
      return refused;
    },
    onChange(callback) {
      for (const { carrier } of parts) carrier.onChange(callback);
    },
    remarkOf: (fault) => partOf(fault)?.carrier.remarkOf(fault),
    resolvedOf: (fault) => partOf(fault)?.carrier.resolvedOf(fault) ?? [],
    explain: (faults) => parts.map((part) => part.carrier.explain(own(part, faults))),
    async readReceipts(faultIds) {
      const asked = new Set(faultIds);
      for (const id of counters.keys()) if (!asked.has(id)) counters.delete(id);
      const found = await gather("receipts could not be read", (part) =>
        part.carrier.readReceipts(faultIds.filter((id) => counters.get(id) === part)),
      );
      return new Map<string, Receipt>(found.flatMap((receipts) => [...receipts]));
    },
    async close() {
      await gather("a part could not be closed", ({ carrier }) => carrier.close());
    },
  };
}
