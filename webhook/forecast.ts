import { optInOf } from "../api/opt-in.ts";
import { type ActPlan, planAct, type PlannedSelection } from "../api/plan.ts";
import { type Act, actsOfJudged } from "../api/policy/acts.ts";
import type { Around, Policy } from "../api/policy/violations.ts";
import type { SoundSpec } from "../api/kinds/define-kind.ts";
import type { Clock } from "../common/clock.ts";
import type { Kube } from "../kube/kube.ts";
import { nodes, type Pod, pods } from "../kube/resources.ts";

/**
 * What would come of an object now, in warnings: for a dry run all of it, otherwise volumes that pods do not have where it wants to fault them.
 * None of an object that faults no pods. Never throws.
 */
export type Forecast = (
  object: { readonly kind: string; readonly judged: SoundSpec<unknown> },
  request: { readonly isDryRun: boolean },
) => Promise<readonly string[]>;

/** The API server waits for the webhook for 5 s, and may have waited for 3.5 s to hear what the author may do. */
const LIMIT_MS = 1_000;
const MOST_NAMESPACES = 50;
const MOST_ACTS = 10;
/** Of all warnings of one answer together; see https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#response. */
const LONGEST = 4_096;

/**
 * Counts what would be picked now. Names no pod: whoever asks may not be allowed to list them; mounts of the containers that they fault they
 * are told. Pods are asked of the API server here and nowhere else in the webhook, which keeps no copy of them.
 */
export function createForecast({
  kube,
  limits,
  labelsOf,
  clock,
}: {
  readonly kube: Kube;
  readonly limits: { readonly policies: readonly Policy[] };
  /** Labels of a namespace; undefined for one that is not known. */
  readonly labelsOf: Around["labelsOf"];
  readonly clock: Clock;
}): Forecast {
  /** One at a time: lists of many pods must not crowd out the reviews. */
  let isBusy = false;
  return async ({ kind, judged }, { isDryRun }) => {
    const acts = actsOfJudged(kind, judged).filter(({ selections }) =>
      selections.some(({ volumePath }) => isDryRun || volumePath !== undefined),
    );
    if (acts.length === 0) return [];
    // Whoever creates an experiment hears the same of its status a moment later.
    const orNothing = (warning: string): readonly string[] => (isDryRun ? [warning] : []);
    const namespaces = [...new Set(acts.flatMap((act) => (act.namespaces === "all" ? [] : act.namespaces)))];
    if (acts.some((act) => act.namespaces === "all") || namespaces.length > MOST_NAMESPACES)
      return orNothing(
        `Plan: more than ${MOST_NAMESPACES} namespaces are touched, too many to count pods in a dry run. Use squall plan -f FILE.`,
      );
    if (isBusy) return orNothing("Plan: another dry run is counting pods. Try again, or use squall plan -f FILE.");
    isBusy = true;
    const ending = new AbortController();
    const disarm = clock.after(LIMIT_MS, () => ending.abort(new Error(`There was no answer within ${LIMIT_MS / 1000} s.`)));
    try {
      const lists = await Promise.all(namespaces.map((name) => kube.list(pods, { namespace: name }, ending.signal)));
      const found = acts.some(usesNodes) ? (await kube.list(nodes, {}, ending.signal)).items : [];
      const around = {
        pods: lists.flatMap(({ items }) => items),
        nodes: found,
        policies: limits.policies,
        labelsOf,
        optInOf: (name: string) => optInOf(name, labelsOf(name)),
      };
      const planned = acts.slice(0, MOST_ACTS).map((act) => ({ act, plan: planAct<Pod>(act, around) }));
      const volumes = planned.flatMap(({ act, plan }) => plan.selections.flatMap((selection) => describeVolumes(act, selection)));
      if (!isDryRun) return cut(volumes);
      const shown = [...planned.flatMap(({ act, plan }) => describePlan(act, plan)), ...volumes];
      return cut([
        ...shown,
        ...(acts.length > MOST_ACTS ? [`Plan: and ${acts.length - MOST_ACTS} more experiments. Use squall plan -f FILE.`] : []),
      ]);
    } catch (error) {
      return orNothing(`Plan: pods could not be counted. ${error instanceof Error ? error.message : String(error)}`);
    } finally {
      isBusy = false;
      disarm();
    }
  };
}

const usesNodes = ({ selections }: Act): boolean =>
  selections.some(({ block: { selector } }) => Object.keys(selector.nodeSelectors ?? {}).length > 0);

function describePlan({ path }: Act, { selections, shares, policies, tooSmall }: ActPlan<Pod>): readonly string[] {
  const where = path === "spec" ? "" : ` of ${path}`;
  const [largest] = shares;
  return [
    ...selections.flatMap((selection) => describeSelection(selection, where)),
    ...(largest === undefined
      ? []
      : [
          `Plan${where}: ${plural(shares.length, "workload")} touched; of the one touched most, up to ${largest.most} of ${plural(largest.size, "pod")} (${Math.round((100 * largest.most) / largest.size)} %).`,
        ]),
    ...(policies.length === 0
      ? []
      : [
          tooSmall.length === 0
            ? `Plan${where}: within the budget of ${policies.join(", ")}, as far as no other experiment faults the same workloads.`
            : `Plan${where}: more pods of one workload than the budget of ${tooSmall.join(", ")} allows; it may wait with BudgetExceeded.`,
        ]),
  ];
}

function describeSelection(selection: PlannedSelection<Pod>, where: string): readonly string[] {
  const { key, isFaulted, candidates, skipped, least, most, isRandom } = selection;
  const block = key === "." ? `Plan${where}` : `Plan${where}, target`;
  const what = isFaulted ? "can be faulted" : "are the other side";
  const picked = least === most ? `${most}` : `${least} to ${most}`;
  const total = candidates.length + skipped.length;
  const counts = [...Map.groupBy(skipped, ({ skip }) => skip.reason)].map(([reason, all]) => `${reason} (${all.length})`);
  return [
    `${block}: ${plural(total, "pod")} match, ${candidates.length} ${what}, ${picked} would be picked${isRandom ? " at random" : ""}.`,
    ...(skipped.length === 0 ? [] : [`${block}: ${skipped.length} would be skipped: ${counts.join(", ")}. See docs/reasons.md.`]),
  ];
}

/** Containers that differ are told apart by their message; a workload has few. */
const MOST_CAUSES = 5;

/** What pods lack at the path where files are to be faulted, and have instead. */
function describeVolumes({ path }: Act, { candidates, skipped }: PlannedSelection<Pod>): readonly string[] {
  const total = candidates.length + skipped.length;
  const lacking = skipped.filter(({ skip: { reason } }) => reason === "NoVolume" || reason === "VolumeNotServed");
  const causes = [...Map.groupBy(lacking, ({ skip: { reason, message } }) => `${reason}: ${path}.volumePath: ${message}`)];
  return [
    ...causes.slice(0, MOST_CAUSES).map(([cause, { length }]) => `${cause} So it is with ${length} of ${plural(total, "pod")}.`),
    ...(causes.length > MOST_CAUSES ? [`Plan: ${causes.length - MOST_CAUSES} more causes like these. Use squall plan -f FILE.`] : []),
  ];
}

const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** The first warnings that fit. */
function cut(warnings: readonly string[]): readonly string[] {
  let length = 0;
  return warnings.filter((warning) => (length += warning.length) <= LONGEST);
}
