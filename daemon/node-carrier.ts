import { isDeepStrictEqual } from "node:util";
import { type Carrier, type Moment, NotTakenBackError } from "../agent/carrier.ts";
import { noReceipt } from "../agent/held-fault.ts";
import type { Refusal } from "../agent/plan.ts";
import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import type { Fault, Passport } from "../proto/gen/agent.ts";
import type { NodeFamily, PlacedFault } from "./node-family.ts";
import { createPlaces } from "./places.ts";
import type { ContainerRuntime } from "./runtime/container-runtime.ts";

export interface NodeCarrierOptions {
  readonly runtime: Pick<ContainerRuntime, "find" | "sandboxPid">;
  readonly families: readonly NodeFamily[];
  readonly clock: Clock;
  readonly log: Log;
}

const LOOK_EVERY_MS = 1_000;

/** Carries out faults on containers and pods of this node: finds them, hands each fault to its family, and looks again every second. */
export function createNodeCarrier({ runtime, families, clock, log }: NodeCarrierOptions): Carrier {
  const places = createPlaces(runtime);
  let wanted: readonly Fault[] = [];
  let tellChange = (): void => undefined;
  let cancelLook = (): void => undefined;
  let isClosed = false;
  let last: Promise<unknown> = Promise.resolve();

  for (const family of families) family.onChange(() => tellChange());
  const isBusy = (): boolean => wanted.length > 0 || families.some((family) => family.isBusy);
  const familyOf = (fault: Fault): NodeFamily | undefined => families.find(({ name }) => name === fault.family?.$case);

  /** A container that started again is another one; its faults are applied anew. */
  async function look(): Promise<void> {
    const hasMoved = await places.haveMoved(wanted);
    for (const family of families.filter((one) => one.isBusy))
      await family.look().catch((error: unknown) => log.warn({ err: error, family: family.name }, "faults could not be looked after"));
    if (hasMoved) tellChange();
  }

  /** One after the other: a look in the middle of a visit would put back what the visit takes away. */
  function inTurn<T>(act: () => Promise<T>): Promise<T> {
    const turn = last.then(act);
    last = turn.catch(() => undefined);
    return turn;
  }

  function armLook(): void {
    cancelLook();
    if (isClosed || !isBusy()) return;
    cancelLook = clock.after(LOOK_EVERY_MS, () => {
      inTurn(look)
        .catch((error: unknown) => log.warn({ err: error }, "containers could not be looked at"))
        .finally(armLook);
    });
  }

  async function visit(faults: readonly Fault[], { remainingMs, beforeReplacing }: Moment): Promise<readonly Refusal[]> {
    if (wanted.length > 0 && !isDeepStrictEqual(idsOf(wanted), idsOf(faults))) await readLast(beforeReplacing);
    wanted = faults;
    places.keepOnly(faults);
    const { placed, refused } = await place(faults);
    const visits = families.map((family) =>
      family.converge(
        placed.filter(({ fault }) => familyOf(fault) === family),
        remainingMs,
      ),
    );
    // All of them come to their end: what one family cannot do must not leave another one under way.
    const settled = await Promise.allSettled(visits);
    const failed = settled.find((one) => one.status === "rejected");
    if (failed !== undefined) throw new NotTakenBackError(failed.reason);
    return [...refused, ...settled.flatMap((one) => (one.status === "fulfilled" ? one.value : []))];
  }

  async function place(
    faults: readonly Fault[],
  ): Promise<{ readonly placed: readonly PlacedFault[]; readonly refused: readonly Refusal[] }> {
    const placed: PlacedFault[] = [];
    const refused: Refusal[] = [];
    await Promise.all(
      faults.map(async (fault) => {
        const family = familyOf(fault);
        const problem = problemWith(fault, family);
        if (problem !== undefined) return refused.push({ faultId: fault.id, ...problem });
        const place = await places.find(fault);
        if (place.is === "there") return placed.push({ fault, container: place.container });
        return refused.push({ faultId: fault.id, reason: place.reason, message: place.message, isTransient: true });
      }),
    );
    return { placed, refused };
  }

  /** A count that cannot be read must not keep a fault from being taken back. */
  const readLast = (beforeReplacing: Moment["beforeReplacing"]): Promise<void> =>
    beforeReplacing().catch((error: unknown) => log.warn({ err: error }, "last receipts could not be read"));

  return {
    passport: passportOf(families),
    hasReceiptsAtHand: true,
    get isIdle() {
      return wanted.length === 0;
    },
    prepare: () => Promise.resolve(),
    converge(faults, moment) {
      cancelLook();
      return inTurn(() => visit(faults, moment)).finally(armLook);
    },
    onChange(callback) {
      tellChange = callback;
    },
    remarkOf: (fault) => familyOf(fault)?.remarkOf(fault.id),
    resolvedOf: (fault) => familyOf(fault)?.resolvedOf(fault.id) ?? [],
    explain: (faults) => faults.map(({ id, experiment, target, family }) => ({ id, experiment, target, family: family?.$case })),
    async readReceipts(faultIds) {
      const found = await Promise.all(
        faultIds.map(async (id) => {
          const own = (await Promise.all(families.map((family) => family.receiptOf(id)))).find((receipt) => receipt !== undefined);
          return own === undefined ? [] : [[id, { ...noReceipt, ...own }] as const];
        }),
      );
      return new Map(found.flat());
    },
    async close() {
      isClosed = true;
      cancelLook();
      await last;
    },
  };
}

const idsOf = (faults: readonly Fault[]): readonly string[] => faults.map(({ id }) => id);

/** What can never be carried out here, whatever the container does. */
function problemWith(
  { family, target }: Fault,
  known: NodeFamily | undefined,
): { readonly reason: string; readonly message: string } | undefined {
  if (family === undefined || known === undefined) {
    const what = family === undefined ? "a kind of fault that it does not know" : `${family.$case} faults`;
    return { reason: "NotYetSupported", message: `This daemon cannot carry out ${what}. Is it older than the controller?` };
  }
  if (target === undefined || target.podUid === "" || (target.container === "") !== (known.actsOn === "pods"))
    return {
      reason: "InvalidTarget",
      message: `The fault does not say which ${known.actsOn === "pods" ? "pod" : "container of which pod"} it is for.`,
    };
  return known.missing === undefined ? undefined : { reason: "CannotCarry", message: known.missing };
}

function passportOf(families: readonly NodeFamily[]): Passport {
  return {
    engines: [],
    missing: families.flatMap(({ name, missing }) => (missing === undefined ? [] : [`${name}: ${missing}`])),
    iptables: "",
    families: [],
    devices: [],
    hasIfb: false,
    hasMeshRedirect: false,
    hasBpf: false,
    familiesOfFaults: families.flatMap(({ name, missing }) => (missing === undefined ? [name] : [])),
    volumes: [],
  };
}
