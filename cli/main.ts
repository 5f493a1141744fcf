/** The `squall` command: looks into a cluster with the rights of whoever types it. */
import { Command, Option } from "commander";
import { parseVerdict } from "../api/injection-verdict.ts";
import { type OptIn, optInOf } from "../api/opt-in.ts";
import { podExplanation, type PodExplanation } from "../api/pod-explanation.ts";
import { hasSidecar, isFinished, isLateJoiner } from "../api/selection.ts";
import { annotations, labels, OPTED_IN, SIDECAR_CONTAINER } from "../common/names.ts";
import { bundlePath } from "../common/sidecar-layout.ts";
import { VERSION } from "../common/version.ts";
import { connectKube, type KubeConnection } from "../kube/client.ts";
import { contextNamespace, execInPod } from "../kube/exec.ts";
import { namespaces, type Pod, pods } from "../kube/resources.ts";
import { type Diagnosis, type Patient, renderDiagnosis } from "./doctor.ts";
import { explainRefusal, renderExplanation } from "./explain.ts";
import { halt, resume } from "./halt.ts";
import { planFile, renderPlan } from "./plan.ts";
import { readWebhookState } from "./webhook-state.ts";

interface Options {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly namespace?: string;
  readonly output: "text" | "json";
}

const LABELLED = `${labels.inject}=${OPTED_IN}`;
const isLabelled = ({ metadata }: Pod): boolean => metadata.labels?.[labels.inject] === OPTED_IN;

const say = (text: string): void => void process.stdout.write(`${text}\n`);

const program = new Command("squall")
  .description("Looks ahead at what experiments would pick, into pods that Squall faults, and stops faults.")
  .version(VERSION)
  .showHelpAfterError()
  .option("--kubeconfig <file>", "kubeconfig file; KUBECONFIG or your own by default")
  .option("--context <name>", "context of the kubeconfig")
  .option("-n, --namespace <name>", "namespace; that of the context by default")
  .addOption(new Option("-o, --output <format>", "how answers are printed").choices(["text", "json"]).default("text"));

program
  .command("explain")
  .argument("<pod>", "name of the pod")
  .description("show the rules that the faults of a pod compile to, and what they counted; needs the right to create pods/exec")
  .action(async (pod: string) => {
    const options = program.opts<Options>();
    const namespace = options.namespace ?? contextNamespace(options);
    const explanation = await ask(options, namespace, pod);
    say(options.output === "json" ? JSON.stringify(explanation, null, 2) : renderExplanation(`${namespace}/${pod}`, explanation));
  });

program
  .command("doctor")
  .description(
    "show for each labelled pod, and those that late join reaches, what can be faulted there, and why pods have no sidecar; needs the rights to list pods and to create pods/exec",
  )
  .action(() =>
    withKube(async (kube, namespace) => {
      const options = program.opts<Options>();
      const { metadata } = await kube.get(namespaces, { name: namespace });
      const optIn = optInOf(namespace, metadata.labels);
      const verdict = parseVerdict(metadata.annotations?.[annotations.injectionVerdict]);
      // Late join asks nothing of a pod.
      const { items } = await kube.list(pods, optIn === "late-join" ? { namespace } : { namespace, labelSelector: LABELLED });
      const concerned = items.filter((pod) => !isFinished(pod) && (isLabelled(pod) || isLateJoiner(pod)));
      const [webhook, patients] = await Promise.all([
        readWebhookState(kube),
        Promise.all(concerned.map((pod) => examine(pod, options, { namespace, optIn }))),
      ]);
      const diagnosis: Diagnosis = { namespace, webhook, verdict, pods: patients };
      say(options.output === "json" ? JSON.stringify(diagnosis, null, 2) : renderDiagnosis(diagnosis));
    }),
  );

program
  .command("plan")
  .description("list the targets that the experiments of a file would pick now, and what policies say; needs the right to list pods there")
  .requiredOption("-f, --filename <file>", "manifest; - is standard input")
  .action(({ filename }: { readonly filename: string }) =>
    withKube(async (kube, namespace) => {
      const planned = await planFile(filename, { kube, namespace, now: new Date() });
      say(program.opts<Options>().output === "json" ? JSON.stringify(planned, null, 2) : renderPlan(planned));
    }),
  );

program
  .command("halt")
  .description("end every experiment that touches the namespace, and refuse new ones until resume; needs the right to create halts")
  .option("--all", "the whole cluster; needs the right to create clusterhalts")
  .option("--reason <text>", "why, for everybody whose experiment is stopped or refused")
  .action(async ({ all, reason }: { readonly all?: boolean; readonly reason?: string }) => {
    const isDone = await withKube((kube, namespace) => halt(kube, all === true ? "cluster" : { namespace }, { reason, say }));
    process.exitCode = isDone ? 0 : 1;
  });

program
  .command("resume")
  .description("delete the halts of the namespace; what was stopped stays stopped")
  .option("--all", "those of the whole cluster")
  .action(({ all }: { readonly all?: boolean }) =>
    withKube((kube, namespace) => resume(kube, all === true ? "cluster" : { namespace }, say)),
  );

async function withKube<T>(act: (kube: KubeConnection, namespace: string) => Promise<T>): Promise<T> {
  const options = program.opts<Options>();
  const kube = connectKube({ ...options, process: "squall", version: VERSION });
  try {
    return await act(kube, options.namespace ?? contextNamespace(options));
  } finally {
    await kube.close();
  }
}

async function examine(pod: Pod, options: Options, around: { readonly namespace: string; readonly optIn: OptIn }): Promise<Patient> {
  const { name } = pod.metadata;
  if (around.optIn === "late-join" && isLateJoiner(pod)) return { pod: name, finding: { is: "late-join", node: pod.spec.nodeName } };
  if (!hasSidecar(pod)) {
    const why = pod.metadata.annotations?.[annotations.injected];
    return { pod: name, finding: { is: "not-injected", isNamespaceOptedIn: around.optIn !== "none", why } };
  }
  try {
    return { pod: name, finding: { is: "injected", explanation: await ask(options, around.namespace, name) } };
  } catch (error) {
    return { pod: name, finding: { is: "unreachable", why: error instanceof Error ? error.message : String(error) } };
  }
}

async function ask(options: Options, namespace: string, pod: string): Promise<PodExplanation> {
  const argv = ["node", bundlePath("sidecar"), "explain"];
  try {
    return podExplanation.parse(JSON.parse(await execInPod(options, { namespace, pod, container: SIDECAR_CONTAINER }, argv)));
  } catch (error) {
    throw new Error(explainRefusal(error, { namespace, pod }), { cause: error });
  }
}

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
