import * as z from "zod";
import type { Kubectl } from "./kubectl.ts";

/** Looks this often whether an image is missing, which no waiting mends. */
const LOOK_SECONDS = 10;
const LOOKS = 12;

const container = z.object({
  image: z.string(),
  state: z.object({ waiting: z.object({ reason: z.string(), message: z.string().optional() }).optional() }).optional(),
});
const pods = z.object({
  items: z.array(
    z.object({
      metadata: z.object({ name: z.string() }),
      status: z.object({ containerStatuses: z.array(container).optional(), initContainerStatuses: z.array(container).optional() }),
    }),
  ),
});

/** What the kubelet calls a container that waits for an image it cannot have. */
const HOPELESS: ReadonlySet<string> = new Set(["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"]);

/** Waits for two minutes until all pods of the workload are new and ready. Throws an Error at once where an image cannot be had. */
export async function waitForRollout(kubectl: Kubectl, workload: string, namespace: string): Promise<void> {
  for (let look = 1; ; look++) {
    try {
      await kubectl.run(["rollout", "status", workload, "-n", namespace, `--timeout=${LOOK_SECONDS}s`]);
      return;
    } catch (error) {
      const missing = explainImagesOf(await kubectl.run(["get", "pods", "-n", namespace, "-o", "json"]));
      if (missing.length > 0) throw new Error(`${workload} in ${namespace} does not start.\n${missing.join("\n")}`, { cause: error });
      if (look === LOOKS) throw error;
    }
  }
}

/** Pure. The images that no pod of a list, as JSON, can have: each once, with what the node said. */
export function explainImagesOf(json: string): readonly string[] {
  const found = new Map<string, string>();
  for (const { metadata, status } of pods.parse(JSON.parse(json)).items) {
    for (const { image, state } of [...(status.initContainerStatuses ?? []), ...(status.containerStatuses ?? [])]) {
      const waiting = state?.waiting;
      if (waiting === undefined || !HOPELESS.has(waiting.reason) || found.has(image)) continue;
      found.set(image, `  Pod ${metadata.name} cannot have the image ${image}: ${waiting.reason}. ${waiting.message ?? ""}`.trimEnd());
    }
  }
  return [...found.values()];
}
