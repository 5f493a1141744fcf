import { isDeepStrictEqual } from "node:util";
import type { Log } from "../common/log.ts";
import type { Carrier } from "./carrier.ts";
import type { Executor } from "./executor.ts";
import type { FaultFamily } from "./family.ts";
import { emptyPlan } from "./plan.ts";

/** Carries a family of faults out by plans: all faults together make one plan, and the executor moves from one plan to the next. */
export function createPlannedCarrier({
  family,
  executor,
  log,
}: {
  readonly family: FaultFamily;
  readonly executor: Executor;
  readonly log: Log;
}): Carrier {
  let mustRebuild = false;
  let tellChange = (): void => undefined;
  family.onEngineDeath((reason) => {
    log.error({ err: reason }, "the engine died; its faults are applied again");
    mustRebuild = true;
    tellChange();
  });
  return {
    passport: family.passport,
    hasReceiptsAtHand: false,
    get isIdle() {
      return executor.current.length === 0;
    },
    prepare: (faults) => family.prepare(faults),
    async converge(faults, { remainingMs, beforeReplacing }) {
      const plan = family.plan(faults);
      const refused = new Set(plan.refused.map(({ faultId }) => faultId));
      if (executor.current.length > 0 && !isDeepStrictEqual(executor.current, plan.steps)) await beforeReplacing();
      if (mustRebuild) await executor.converge(emptyPlan, () => undefined);
      mustRebuild = false;
      await executor.converge(plan, () => {
        const left = faults.filter(({ id }) => !refused.has(id)).map((fault) => ({ fault, remainingMs: remainingMs(fault) }));
        return family.planClock(left.filter((one) => one.remainingMs > 0));
      });
      return plan.refused;
    },
    onChange(callback) {
      tellChange = callback;
      family.onChange(callback);
    },
    remarkOf: () => undefined,
    resolvedOf: (fault) => family.resolvedOf(fault),
    explain: (faults) => family.explain(faults),
    readReceipts: (faultIds) => family.readReceipts(faultIds),
    close: () => family.close(),
  };
}
