import { type ClusterAccess, createKubectl, type Kubectl } from "./kubectl.ts";
import { CommandError } from "../run.ts";
import type { Images } from "./install.ts";

/** Label of the namespace that the demo makes: in one without it nothing is touched. */
export const DEMO_LABEL = "squall.dev/demo";
/** A person waits for this. */
const ANSWER_TIMEOUT = "10s";

const howToImages = `Build both and push them where the cluster can pull them:
  npm run bundle
  docker build -f Containerfile -t REGISTRY/squall:TAG . && docker push REGISTRY/squall:TAG
  docker build -f lab/shop/Containerfile -t REGISTRY/squall-shop:TAG lab/shop && docker push REGISTRY/squall-shop:TAG
  npm start -- --context NAME --image REGISTRY/squall:TAG --shop-image REGISTRY/squall-shop:TAG
Where the nodes have them already (kind load docker-image, minikube image load), name them as they are called there.`;

/** What keeps the story from being played in a cluster of the person's own: every mistake, with what to do. Changes nothing. */
export async function findMistakes(context: string, images: Images, access: ClusterAccess): Promise<readonly string[]> {
  const kubectl = createKubectl(access);
  return [...explainImages(images), ...(await findContextMistakes(context, createKubectl({ ...access, parameters: [] }), kubectl))];
}

/** Pure. Our manifests name images that no registry has. */
export function explainImages({ squall, shop }: Images): readonly string[] {
  const missing = [...(squall ? [] : ["--image"]), ...(shop ? [] : ["--shop-image"])];
  return missing.length === 0 ? [] : [`${missing.join(" and ")} not given. ${howToImages}`];
}

/** Pure. */
export function explainContext(context: string, known: readonly string[]): string | undefined {
  if (known.includes(context)) return undefined;
  const others = known.length === 0 ? "It has none." : `It has: ${known.join(", ")}.`;
  return `--context: your kubeconfig has no context "${context}". ${others} KUBECONFIG names another file.`;
}

async function findContextMistakes(context: string, anywhere: Kubectl, kubectl: Kubectl): Promise<readonly string[]> {
  try {
    const known = (await anywhere.run(["config", "get-contexts", "-o", "name"])).split("\n").filter((name) => name !== "");
    const unknown = explainContext(context, known);
    if (unknown !== undefined) return [unknown];
  } catch (error) {
    if (error instanceof CommandError && error.exitCode === undefined)
      return ["kubectl is not on the PATH. Install it: https://kubernetes.io/docs/tasks/tools/"];
    throw error;
  }
  try {
    const namespace = await kubectl.run([
      "get",
      "namespace",
      "shop",
      "-o",
      "json",
      "--ignore-not-found",
      `--request-timeout=${ANSWER_TIMEOUT}`,
    ]);
    return explainNamespace(namespace);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    return [`The cluster of context "${context}" does not answer, or not to you: ${error.output.split("\n").at(-1)}`];
  }
}

/** Pure. The demo's namespace, as JSON or empty where there is none, may be used only if the demo made it. */
export function explainNamespace(json: string): readonly string[] {
  if (json.trim() === "") return [];
  const { metadata } = JSON.parse(json) as { readonly metadata: { readonly labels?: Readonly<Record<string, string>> } };
  if (metadata.labels?.[DEMO_LABEL] === "true") return [];
  return [
    `That cluster has a namespace "shop" that is not the demo's, and the demo would change what is in it. If it may: kubectl label namespace shop ${DEMO_LABEL}=true`,
  ];
}
