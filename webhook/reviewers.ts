import type { Around } from "../api/policy/violations.ts";
import type { Clock } from "../common/clock.ts";
import type { AccessReviews } from "../kube/access.ts";
import type { Kube } from "../kube/kube.ts";
import type { Limits } from "../kube/limits.ts";
import { allowed } from "./admission-review.ts";
import { createAuthorise } from "./authorise.ts";
import { type ExperimentPolicy, mutateExperiment, validateExperiment } from "./experiments.ts";
import { createForecast } from "./forecast.ts";
import { createGovern } from "./govern.ts";
import { injectSidecar, type Injector } from "./inject.ts";
import { judgeLift } from "./lift.ts";
import type { Reviewer } from "./server.ts";

const experimentCrash = {
  isAllowed: false,
  code: "InternalError",
  message: "The webhook failed to check this object; see its log. Nothing was changed.",
};

const injectorCrash = {
  ...allowed,
  code: "InternalError",
  warnings: ["squall: the injector failed, so this pod gets no sidecar; see the log of the webhook"],
};

export interface ReviewerDeps {
  readonly policy: ExperimentPolicy;
  readonly kube: Kube;
  readonly access: AccessReviews;
  readonly limits: Pick<Limits, "policies" | "haltOn">;
  /** Labels of a namespace; undefined for one that is not known. */
  readonly labelsOf: Around["labelsOf"];
  readonly injector: Injector;
  readonly clock: Clock;
}

/** What the webhook answers at which path, and what it answers when it fails: a pod is let through, everything else refused. */
export function createReviewers(deps: ReviewerDeps): readonly Reviewer[] {
  const { policy, injector } = deps;
  const asked = { authorise: createAuthorise(deps), govern: createGovern(deps), forecast: createForecast(deps) };
  return [
    { path: "/inject", review: (request) => injectSidecar(request, injector), onCrash: injectorCrash },
    { path: "/mutate", review: (request) => mutateExperiment(request, policy), onCrash: experimentCrash },
    { path: "/validate", review: (request) => validateExperiment(request, policy, asked), onCrash: experimentCrash },
    { path: "/lift", review: (request) => judgeLift(request, deps), onCrash: experimentCrash },
  ];
}
