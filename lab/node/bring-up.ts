import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { writeControlPlaneFiles } from "../control-plane.ts";
import { exists } from "../files.ts";
import type { LabAuthority } from "../pki.ts";
import { createReadinessProbe } from "../readiness.ts";
import { waitUntil } from "../wait-until.ts";
import { run } from "../run.ts";
import { familiesOf } from "./addresses.ts";
import {
  apiServerComponent,
  type ClusterPlan,
  type Component,
  configurationFiles,
  containerdComponent,
  controlPlaneComponents,
  etcdComponent,
  kubeconfigOf,
  nodeComponents,
} from "./components.ts";
import { dnsObjects, renderCniConfig, renderContainerdConfig, renderCorefile, renderKubeletConfig } from "./configuration.ts";
import { writeCredentials } from "./credentials.ts";
import { controlPlaneOf, lab, type LabNode, nodeLayout, nodes, stateLayout } from "./layout.ts";
import { writePauseImage } from "./pause-image.ts";
import { supervise } from "./supervisor.ts";
import { prepareSurroundings } from "./surroundings.ts";
import { prepareUmlMachine } from "./uml-machine.ts";

type Kubectl = (parameters: readonly string[], stdin?: string) => Promise<string>;
type Say = (line: string) => void;

const PART_TIMEOUT_MS = 60_000;
/** The first node makes the certificates; on a slow machine that takes a while. */
const CREDENTIALS_TIMEOUT_MS = 90_000;

/** Turns this process's fresh namespaces into the first node, with the control plane; returns when pods can be started. */
export async function bringUpFirstNode(plan: ClusterPlan, say: Say): Promise<void> {
  const node = nodes.lab;
  const plane = controlPlaneOf(plan.state, plan.ipFamilies);
  const families = familiesOf(plan.ipFamilies);
  const start = starter(plan.state, node, say);

  await prepareSurroundings(node, { folders: nodeLayout(plan.state, node).folders, families });
  await writeConfiguration(plan, node);
  await mkdir(plane.etcdData, { mode: 0o700 });
  await Promise.all([etcdComponent(plan), containerdComponent(plan, node)].map(start));
  const imageLoaded = loadPauseImage(plan.state, node);
  const authority = await writeControlPlaneFiles(plane);
  await start(apiServerComponent(plan));
  await writeCredentials(plan.state, authority, families);
  await waitForApiServer(authority);
  say("the API server is ready");

  const access = [plan.binaries.kubectl, `--kubeconfig=${kubeconfigOf(plan.state, "admin")}`, "--request-timeout=10s"];
  const kubectl: Kubectl = (parameters, stdin) => run([...access, ...parameters], { stdin, timeoutMs: 15_000 });
  // An API server that has just begun may take seconds to describe its kinds, which only validation asks for.
  const components = [...controlPlaneComponents(plan), ...nodeComponents(plan, node)];
  await Promise.all([...components.map(start), kubectl(["apply", "--validate=false", "-f", "-"], dnsObjects()), imageLoaded]);
  await waitUntil("The node is not ready", () => isNodeReady(kubectl, node), { timeoutMs: PART_TIMEOUT_MS });
}

/** Turns a User-Mode Linux kernel that has just booted into the second node; returns when its kubelet has begun. */
export async function bringUpUmlNode(plan: ClusterPlan, say: Say): Promise<void> {
  const node = nodes.uml;
  const layout = nodeLayout(plan.state, node);
  const start = starter(plan.state, node, say);

  const families = familiesOf(plan.ipFamilies);
  await prepareUmlMachine(layout, families);
  await prepareSurroundings(node, { folders: layout.folders, families });
  await writeConfiguration(plan, node);
  await start(containerdComponent(plan, node));
  await loadPauseImage(plan.state, node);
  say("containerd is ready");
  const hasCredentials = (): Promise<boolean> => exists(kubeconfigOf(plan.state, "kubelet-uml"));
  await waitUntil("The first node made no certificate for this one", hasCredentials, { timeoutMs: CREDENTIALS_TIMEOUT_MS });
  await Promise.all(nodeComponents(plan, node).map(start));
}

function starter(state: string, node: LabNode, say: Say): (component: Component) => Promise<void> {
  return (component) => supervise(component, nodeLayout(state, node).logs, say);
}

async function writeConfiguration({ state, ipFamilies }: ClusterPlan, node: LabNode): Promise<void> {
  const { pki } = stateLayout(state);
  const { logs, configuration, images } = nodeLayout(state, node);
  const files = configurationFiles(state, node);
  await Promise.all([logs, configuration, images, files.cni, files.certificates, pki].map((folder) => mkdir(folder, { recursive: true })));
  const identity = {
    ca: join(pki, "ca.crt"),
    certificate: join(pki, `kubelet-${node.name}.crt`),
    key: join(pki, `kubelet-${node.name}.key`),
  };
  await Promise.all([
    writeFile(files.containerd, renderContainerdConfig({ cni: files.cni })),
    writeFile(join(files.cni, "10-bridge.conflist"), renderCniConfig(node, familiesOf(ipFamilies))),
    writeFile(files.kubelet, renderKubeletConfig(node, identity)),
    writeFile(files.corefile, renderCorefile({ kubeconfig: kubeconfigOf(state, "admin") })),
  ]);
}

async function waitForApiServer(authority: LabAuthority): Promise<void> {
  const client = await authority.issue({ commonName: "squall-lab-probe", organization: "system:masters" });
  const probe = createReadinessProbe(`https://${nodes.lab.ipv4.address}:${lab.apiPort}`, authority.ca.certificate, client);
  try {
    await waitUntil("The API server is not ready", () => probe.isReady(), { timeoutMs: PART_TIMEOUT_MS });
  } finally {
    await probe.close();
  }
}

async function loadPauseImage(state: string, node: LabNode): Promise<void> {
  const archive = await writePauseImage(nodeLayout(state, node).images);
  const load = (): Promise<boolean> =>
    run(["ctr", "--address", lab.containerdSocket, "--namespace", "k8s.io", "images", "import", archive], { timeoutMs: 20_000 }).then(
      () => true,
      () => false,
    );
  await waitUntil("containerd does not take the pause image", load, { timeoutMs: PART_TIMEOUT_MS });
}

/** Ready, and the default service account that pods need is there. */
async function isNodeReady(kubectl: Kubectl, { name }: LabNode): Promise<boolean> {
  try {
    const condition = '{.status.conditions[?(@.type=="Ready")].status}';
    if ((await kubectl(["get", "node", name, "-o", `jsonpath=${condition}`])) !== "True") return false;
    return (await kubectl(["get", "serviceaccount", "default", "-n", "default", "-o", "name"])) !== "";
  } catch {
    // Not registered yet; the caller's time-out ends the waiting.
    return false;
  }
}
