import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import type { Progress } from "../progress.ts";
import type { Kubectl } from "./kubectl.ts";
import { waitForRollout } from "./rollout.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

export interface Images {
  /** `REPOSITORY:TAG` of Squall's image; undefined for the one in manifests/. */
  readonly squall: string | undefined;
  /** The same for the demo shop. */
  readonly shop: string | undefined;
}

/** Installs Squall as the README tells, and waits until it is ready. Running it again is fine. */
export async function installSquall(kubectl: Kubectl, images: Images, progress: Progress): Promise<void> {
  await progress.during("Installing Squall (kubectl create namespace squall-system && kubectl apply -k manifests/)", async () => {
    await kubectl.run(["apply", "-f", "-"], {
      stdin: JSON.stringify({ apiVersion: "v1", kind: "Namespace", metadata: { name: "squall-system" } }),
    });
    await withImage(images.squall, (folder) => kubectl.run(["apply", "-k", folder], { timeoutMs: 60_000 }));
    for (const workload of [
      "daemonset/squall-image",
      "daemonset/squall-daemon",
      "deployment/squall-controller",
      "deployment/squall-webhook",
    ]) {
      await waitForRollout(kubectl, workload, "squall-system");
    }
    await waitForCaBundles(kubectl);
  });
}

/** Deploys the shop and waits until the client can buy. */
export async function deployShop(kubectl: Kubectl, images: Images, progress: Progress): Promise<void> {
  await progress.during("Deploying the shop (client -> web -> store)", async () => {
    await kubectl.run(["apply", "-f", join(root, "lab/demo/shop.yaml")]);
    for (const name of ["store", "web", "client"]) {
      if (images.shop !== undefined) await kubectl.run(["set", "image", `deployment/${name}`, `${name}=${images.shop}`, "-n", "shop"]);
    }
    for (const name of ["store", "web", "client"]) {
      await waitForRollout(kubectl, `deployment/${name}`, "shop");
    }
  });
}

/** The leader writes the CA into the webhook configurations; before that no experiment can be created. */
async function waitForCaBundles(kubectl: Kubectl): Promise<void> {
  const configurations = ["mutatingwebhookconfiguration/squall-webhook", "validatingwebhookconfiguration/squall-webhook"];
  for (let attempt = 0; attempt < 120; attempt++) {
    const bundles = await Promise.all(
      configurations.map((name) => kubectl.run(["get", name, "-o", "jsonpath={.webhooks[*].clientConfig.caBundle}"])),
    );
    if (bundles.every((bundle) => bundle.trim() !== "")) return;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  throw new Error(
    "The controller did not write the webhooks' caBundle within 60 s. See: kubectl logs -n squall-system deployment/squall-controller",
  );
}

/** Calls back with a kustomization: manifests/ itself, or an overlay of it with another image. */
async function withImage<T>(image: string | undefined, use: (folder: string) => Promise<T>): Promise<T> {
  const manifests = join(root, "manifests");
  if (image === undefined) return use(manifests);
  const overlay = await mkdtemp(join(tmpdir(), "squall-overlay-"));
  try {
    const colon = image.lastIndexOf(":");
    const [newName, newTag] = colon > image.lastIndexOf("/") ? [image.slice(0, colon), image.slice(colon + 1)] : [image, "latest"];
    const kustomization = { resources: [relative(overlay, manifests)], images: [{ name: "squall", newName, newTag }] };
    await writeFile(join(overlay, "kustomization.yaml"), JSON.stringify(kustomization));
    return await use(overlay);
  } finally {
    await rm(overlay, { recursive: true });
  }
}
