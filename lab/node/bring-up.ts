import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { writeControlPlaneFiles } from "../control-plane.ts";
import { renderKubeconfig } from "../kubeconfig.ts";
import { type LabAuthority, type LeafRequest, writeKeyPair } from "../pki.ts";
import { createReadinessProbe, waitUntil } from "../readiness.ts";
import { run } from "../run.ts";
import { apiServerComponent, type Binaries, configurationFiles, firstComponents, kubeconfigOf, laterComponents } from "./components.ts";
import { dnsObjects, renderCniConfig, renderContainerdConfig, renderCorefile, renderKubeletConfig } from "./configuration.ts";
import { controlPlaneOf, node, stateLayout } from "./layout.ts";
import { writePauseImage } from "./pause-image.ts";
import { supervise } from "./supervisor.ts";
import { prepareSurroundings } from "./surroundings.ts";

type Kubectl = (parameters: readonly string[], stdin?: string) => Promise<string>;

const PART_TIMEOUT_MS = 60_000;

/** Turns this process's fresh namespaces into a working node; returns when pods can be started. */
export async function bringUp(state: string, binaries: Binaries, say: (line: string) => void): Promise<void> {
  const layout = stateLayout(state);
  const plane = controlPlaneOf(state);
  const start = (component: { readonly name: string; readonly argv: readonly string[] }): Promise<void> =>
    supervise(component, layout.logs, say);

  await prepareSurroundings(layout.folders);
  await writeConfiguration(state);
  await mkdir(plane.etcdData, { mode: 0o700 });
  await Promise.all(firstComponents(state, binaries).map(start));
  const imageLoaded = loadPauseImage(layout.images);
  const authority = await writeControlPlaneFiles(plane);
  await start(apiServerComponent(state, binaries));
  await writeCredentials(state, authority);
  await waitForApiServer(authority);
  say("the API server is ready");

  const kubectl: Kubectl = (parameters, stdin) =>
    run([binaries.kubectl, `--kubeconfig=${layout.kubeconfig}`, "--request-timeout=5s", ...parameters], { stdin, timeoutMs: 10_000 });
  await Promise.all([...laterComponents(state, binaries).map(start), kubectl(["apply", "-f", "-"], dnsObjects()), imageLoaded]);
  await waitUntil("The node is not ready", () => isNodeReady(kubectl), { timeoutMs: PART_TIMEOUT_MS });
}

async function writeConfiguration(state: string): Promise<void> {
  const { logs, configuration, images, pki } = stateLayout(state);
  const files = configurationFiles(state);
  await Promise.all([logs, configuration, images, files.cni, pki].map((folder) => mkdir(folder, { recursive: true })));
  const identity = { ca: join(pki, "ca.crt"), certificate: join(pki, "kubelet.crt"), key: join(pki, "kubelet.key") };
  await Promise.all([
    writeFile(files.containerd, renderContainerdConfig({ cni: files.cni })),
    writeFile(join(files.cni, "10-bridge.conflist"), renderCniConfig()),
    writeFile(files.kubelet, renderKubeletConfig(identity)),
    writeFile(files.corefile, renderCorefile({ kubeconfig: kubeconfigOf(state, "admin") })),
  ]);
}

/** A certificate for each component, with the names that Kubernetes' own roles are bound to. */
async function writeCredentials(state: string, authority: LabAuthority): Promise<void> {
  const server = `https://${node.address}:${node.apiPort}`;
  const identities = {
    admin: { commonName: "admin", organization: "system:masters" },
    "controller-manager": { commonName: "system:kube-controller-manager" },
    scheduler: { commonName: "system:kube-scheduler" },
    kubelet: { commonName: `system:node:${node.name}`, organization: "system:nodes", dns: [node.name], ips: [node.address] },
    proxy: { commonName: "system:kube-proxy" },
  } as const satisfies Readonly<Record<Parameters<typeof kubeconfigOf>[1], LeafRequest>>;
  await Promise.all(
    (Object.keys(identities) as (keyof typeof identities)[]).map(async (who) => {
      const client = await authority.issue(identities[who]);
      // The kubelet serves exec and logs with the same certificate.
      if (who === "kubelet") await writeKeyPair(stateLayout(state).pki, who, client);
      const kubeconfig = renderKubeconfig({ server, ca: authority.ca.certificate, client });
      await writeFile(kubeconfigOf(state, who), kubeconfig, { mode: 0o600 });
    }),
  );
}

async function waitForApiServer(authority: LabAuthority): Promise<void> {
  const client = await authority.issue({ commonName: "squall-lab-probe", organization: "system:masters" });
  const probe = createReadinessProbe(`https://${node.address}:${node.apiPort}`, authority.ca.certificate, client);
  try {
    await waitUntil("The API server is not ready", () => probe.isReady(), { timeoutMs: PART_TIMEOUT_MS });
  } finally {
    await probe.close();
  }
}

async function loadPauseImage(folder: string): Promise<void> {
  const archive = await writePauseImage(folder);
  const load = (): Promise<boolean> =>
    run(["ctr", "--address", node.containerdSocket, "--namespace", "k8s.io", "images", "import", archive], { timeoutMs: 20_000 }).then(
      () => true,
      () => false,
    );
  await waitUntil("containerd does not take the pause image", load, { timeoutMs: PART_TIMEOUT_MS });
}

/** Ready, and the default service account that pods need is there. */
async function isNodeReady(kubectl: Kubectl): Promise<boolean> {
  try {
    const condition = '{.status.conditions[?(@.type=="Ready")].status}';
    if ((await kubectl(["get", "node", node.name, "-o", `jsonpath=${condition}`])) !== "True") return false;
    return (await kubectl(["get", "serviceaccount", "default", "-n", "default", "-o", "name"])) !== "";
  } catch {
    // Not registered yet; the caller's time-out ends the waiting.
    return false;
  }
}
