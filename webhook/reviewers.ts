import { type AdmissionRequest, allowed, type Verdict } from "./admission-review.ts";
import type { Authorise } from "./authorise.ts";
import { type ExperimentPolicy, mutateExperiment, validateExperiment } from "./experiments.ts";
import type { Forecast } from "./forecast.ts";
import type { Govern } from "./govern.ts";
import { injectSidecar, type Injector } from "./inject.ts";
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

/** What the webhook answers at which path, and what it answers when it fails: a pod is let through, everything else refused. */
export function createReviewers({
  policy,
  authorise,
  govern,
  forecast,
  mayLift,
  injector,
}: {
  readonly policy: ExperimentPolicy;
  readonly authorise: Authorise;
  readonly govern: Govern;
  readonly forecast: Forecast;
  readonly mayLift: (request: AdmissionRequest) => Promise<Verdict>;
  readonly injector: Injector;
}): readonly Reviewer[] {
  return [
    { path: "/inject", review: (request) => injectSidecar(request, injector), onCrash: injectorCrash },
    { path: "/mutate", review: (request) => mutateExperiment(request, policy), onCrash: experimentCrash },
    {
      path: "/validate",
      review: (request) => validateExperiment(request, policy, { authorise, govern, forecast }),
      onCrash: experimentCrash,
    },
    { path: "/lift", review: mayLift, onCrash: experimentCrash },
  ];
}
