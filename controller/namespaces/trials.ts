import type { Sample, SamplePod } from "../../api/injection-sample.ts";
import { joinVerdicts, judgeTrials, type NamespaceVerdict, type Trial } from "../../api/injection-verdict.ts";
import { isJsonObject } from "../../api/json.ts";
import { qualityOf } from "../../api/quality-of-service.ts";
import { annotations, SIDECAR_CONTAINER } from "../../common/names.ts";
import { isKubeError } from "../../kube/errors.ts";
import type { Kube } from "../../kube/kube.ts";
import { podTrials } from "../../kube/resources.ts";

/**
 * Asks the API server, in dry runs, what the policies of a namespace say to each sample without a sidecar and with one. Throws what time may mend:
 * the API server or the injector did not answer, so nothing is known.
 */
export async function tryInjection(
  kube: Kube,
  samples: readonly Sample[],
  before: NamespaceVerdict,
  signal: AbortSignal,
): Promise<NamespaceVerdict> {
  const found = await Promise.all(
    samples.map(async ({ quality, plain, injected, served }) =>
      judgeTrials(quality, {
        plain: await tryPod(kube, plain, signal),
        injected: mustBeAnswered(await tryPod(kube, injected, signal)),
        served: mustBeAnswered(await tryPod(kube, served, signal)),
      }),
    ),
  );
  return joinVerdicts(before, found.flat());
}

/** Says so when the API server went on without the injector, which its webhook allows. */
function mustBeAnswered(trial: Trial & { readonly isSeen?: boolean }): Trial {
  if (trial.is === "admitted" && trial.isSeen === false)
    throw new Error("The injector did not answer: the sample pod came back as it was.");
  return trial;
}

async function tryPod(kube: Kube, pod: SamplePod, signal: AbortSignal): Promise<Trial & { readonly isSeen?: boolean }> {
  try {
    const { metadata, spec } = await kube.create(podTrials, { ...pod }, { dryRun: true }, signal);
    const containers: readonly unknown[] = Array.isArray(spec["initContainers"]) ? spec["initContainers"] : [];
    return {
      is: "admitted",
      quality: qualityOf(spec),
      hasSidecar: containers.some((container) => isJsonObject(container) && container["name"] === SIDECAR_CONTAINER),
      isSeen: metadata.annotations?.[annotations.injected] !== undefined,
    };
  } catch (error) {
    if (!isKubeError(error, "forbidden", "invalid") || isOwnRightMissing(error.message)) throw error;
    return { is: "refused", said: error.said ?? error.message };
  }
}

/** RBAC's words: the refusal is about this process, not about the pod. */
export const isOwnRightMissing = (message: string): boolean => / cannot (?:create|patch) resource "/.test(message);
