import type { SpecOf } from "../../api/kinds/experiments.ts";
import { clocks } from "../../api/kinds/time-chaos.ts";
import { parseDuration } from "../../common/duration.ts";
import type { TimeFault } from "../../proto/gen/faults.ts";
import type { Translator } from "./translator.ts";
import { onEach, whyNoFamily } from "./daemon-faults.ts";

const NS_PER_SECOND = 1_000_000_000n;

/** Clocks of containers are skewed by the daemon of their node. */
export const timeChaos: Translator<SpecOf<"TimeChaos">> = {
  whyUnable: (_spec, _key, passport) => whyNoFamily("time", passport),
  actOf: () => undefined,
  faultsOf: ({ timeOffset, clockIds }, { sources }) => {
    const offsetNs = parseDuration(timeOffset) ?? 0n;
    const nanos = ((offsetNs % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND;
    const value: TimeFault = {
      seconds: Number((offsetNs - nanos) / NS_PER_SECOND),
      nanos: Number(nanos),
      // The list is in the order of clock_gettime(2)'s numbers.
      clockIds: clockIds.map((name) => clocks.indexOf(name)).toSorted((one, other) => one - other),
    };
    return onEach(sources, { $case: "time", value });
  },
};
