import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse, parseAllDocuments } from "yaml";
import * as z from "zod";
import { connectKube, type KubeConnection } from "../../kube/client.ts";
import { isKubeError } from "../../kube/errors.ts";
import type { NewObject } from "../../kube/kube.ts";
import { namespaces } from "../../kube/resources.ts";
import { waitUntil } from "../../lab/wait-until.ts";
import type { Kubectl } from "../cluster/support/kubectl.ts";
import { startTestApiServer, type TestApiServer } from "../support/api-server.ts";
import { adminKubectl } from "./support/installation.ts";
import { anyResource, chaosResource, crds, serveKinds } from "./support/served-kinds.ts";

const root = join(import.meta.dirname, "../..");
const plurals = {
  GCPChaos: "gcpchaos",
  HTTPChaos: "httpchaos",
  KernelChaos: "kernelchaos",
  NetworkChaos: "networkchaos",
  PodChaos: "podchaos",
  Schedule: "schedules",
  StatusCheck: "statuschecks",
  Workflow: "workflows",
} as const;
type Kind = keyof typeof plurals;

const policySchema = z.looseObject({
  spec: z.looseObject({ variables: z.array(z.object({ name: z.string(), expression: z.string() })) }),
});
const readPolicy = (gate: string): z.output<typeof policySchema> =>
  policySchema.parse(parseAllDocuments(readFileSync(join(root, "manifests/policy", gate, "policy.yaml"), "utf8"))[0]?.toJS());
/** `default` is a ChaosPolicy. */
const gates = readdirSync(join(root, "manifests/policy")).filter((name) => name !== "kyverno" && name !== "default");

const shop = "gate-shop";
const patience = { timeoutMs: 15_000 };
const selector = { labelSelectors: { app: "cart" } };
const kill = { action: "pod-kill", mode: "one", selector };
const delay = { action: "delay", mode: "one", selector, delay: { latency: "100ms" } };
const http = { target: "Request", port: 80, abort: true, mode: "one", selector };
const hourly = { schedule: "@hourly", historyLimit: 1, concurrencyPolicy: "Forbid" };
const killHourly = { ...hourly, type: "PodChaos", podChaos: kill };
const killTemplate = { name: "start", templateType: "PodChaos", deadline: "1m", podChaos: kill };
const drill = (...templates: readonly object[]): object => ({ entry: "start", templates: [killTemplate, ...templates] });
const probe = { http: { url: "http://cart/", criteria: { statusCode: "200" } } };

/** The zone, as an offset, in which it is this hour now. */
function zoneWhereItIs(hour: number): string {
  const offset = ((hour - new Date().getUTCHours() + 36) % 24) - 12;
  return `${offset < 0 ? "-" : "+"}${String(Math.abs(offset)).padStart(2, "0")}:00`;
}

describe("the gates of manifests/policy, at a real API server", () => {
  let api: TestApiServer;
  let kube: KubeConnection;
  let kubectl: Kubectl;
  const policies = anyResource("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", false);

  before(async () => {
    api = await startTestApiServer();
    kube = connectKube({ process: "test", version: "0", kubeconfig: api.kubeconfig });
    kubectl = await adminKubectl(api);
    await kube.create(namespaces, { metadata: { name: shop } });
    await serveKinds(kube, plurals);
  });
  after(async () => {
    await kube.close();
    await api.close();
  });
  afterEach(async () => {
    await kubectl(["delete", "validatingadmissionpolicybindings,validatingadmissionpolicies", "--all"]);
    for (const [kind, spec] of [
      ["PodChaos", { ...kill, mode: "all" }],
      ["NetworkChaos", delay],
      ["KernelChaos", { mode: "one" }],
    ] as const)
      await admits(kind, spec);
  });

  const experiment = (spec: unknown, annotations: object = {}, name = "try"): NewObject & { readonly spec: unknown } => ({
    metadata: { namespace: shop, name, annotations },
    spec,
  });

  /** What the API server says to a new object, without storing it. */
  async function tryNow(kind: Kind, spec: unknown, annotations: object = {}): Promise<string> {
    try {
      await kube.create(chaosResource(kind, plurals[kind]), experiment(spec, annotations), { dryRun: true });
      return "admitted";
    } catch (error) {
      if (!isKubeError(error, "forbidden")) throw error;
      return error.message;
    }
  }

  const apply = (gate: string): Promise<string> => kubectl(["apply", "-k", `manifests/policy/${gate}`]);
  /** As a person does who changes a setting. */
  async function set(gate: string, settings: Readonly<Record<string, string>>): Promise<void> {
    const { variables } = readPolicy(gate).spec;
    const patch = Object.entries(settings).map(([name, expression]) => {
      const index = variables.findIndex((variable) => variable.name === name);
      return { op: "replace", path: `/spec/variables/${index}/expression`, value: expression };
    });
    await kube.patch(policies, { name: `${gate}.gates.squall.dev` }, patch, { type: "json" });
  }
  /** Gates and their settings take effect after a moment: a first answer may be one of before. */
  async function hears(kind: Kind, spec: unknown, { annotations, answer }: { annotations: object; answer: RegExp }): Promise<void> {
    const isHeard = async (): Promise<boolean | string> => {
      const said = await tryNow(kind, spec, annotations);
      return answer.test(said) || said;
    };
    await waitUntil(`${answer.source} is the answer to ${JSON.stringify({ kind, spec, annotations })}`, isHeard, patience);
  }
  const refuses = (answer: RegExp, kind: Kind, spec: unknown, annotations: object = {}): Promise<void> =>
    hears(kind, spec, { annotations, answer });
  const admits = (kind: Kind, spec: unknown, annotations: object = {}): Promise<void> =>
    hears(kind, spec, { annotations, answer: /^admitted$/ });
  /** Stores an object that was there before the gate, and gives its name. */
  async function makeBefore(kind: Kind, spec: unknown, annotations: object = {}): Promise<string> {
    const name = `before-${kind.toLowerCase()}`;
    const finalizers = ["chaos-mesh/records"];
    await kube.create(chaosResource(kind, plurals[kind]), { metadata: { namespace: shop, name, annotations, finalizers }, spec });
    return name;
  }
  const patch = (kind: Kind, name: string, body: object): Promise<unknown> =>
    kube.patch(chaosResource(kind, plurals[kind]), { namespace: shop, name }, body, { type: "merge" });
  const end = async (kind: Kind, name: string): Promise<void> => {
    await kube.delete(chaosResource(kind, plurals[kind]), { namespace: shop, name });
    await patch(kind, name, { metadata: { finalizers: null } });
  };
  const paused = { "experiment.chaos-mesh.org/pause": "true" };
  const resume = { metadata: { annotations: { "experiment.chaos-mesh.org/pause": null } } };

  it("business-hours: experiments start and end within the hours of a time zone", async () => {
    const old = await makeBefore("NetworkChaos", delay, paused);
    await apply("business-hours");
    await set("business-hours", { timeZone: `'${zoneWhereItIs(22)}'`, days: "[0, 1, 2, 3, 4, 5, 6]" });
    await refuses(/experiments start only within business hours, 9:00 to 17:00 [+-]\d\d:00/, "PodChaos", kill);
    await refuses(/experiments start only/, "Workflow", drill());
    await admits("Schedule", killHourly);
    await admits("StatusCheck", probe);
    await assert.rejects(patch("NetworkChaos", old, resume), /a pause cannot be lifted under this gate/);
    await patch("NetworkChaos", old, { metadata: { labels: { seen: "yes" } } });
    await end("NetworkChaos", old);

    await set("business-hours", { timeZone: `'${zoneWhereItIs(12)}'` });
    await admits("PodChaos", kill);
    await admits("Workflow", drill());
    await admits("NetworkChaos", { ...delay, duration: "1h30m" });
    await refuses(/spec\.duration: 6h from now is after business hours/, "NetworkChaos", { ...delay, duration: "6h" });

    await set("business-hours", { days: "[]" });
    await refuses(/experiments start only/, "PodChaos", kill);
    // names of the IANA database, too
    await set("business-hours", { timeZone: "'Europe/Berlin'", days: "[0, 1, 2, 3, 4, 5, 6]", opens: "0", closes: "24 * 60" });
    await admits("PodChaos", kill);
  });

  it("freeze: nothing starts in a frozen namespace, nor from elsewhere where it is listed", async () => {
    const old = await makeBefore("NetworkChaos", delay, paused);
    await apply("freeze");
    await kube.patch(namespaces, { name: shop }, { metadata: { labels: { "squall.dev/freeze": "release-42" } } }, { type: "merge" });
    await refuses(/namespace gate-shop is frozen \(label squall\.dev\/freeze: release-42\), so nothing starts there/, "PodChaos", kill);
    await refuses(/is frozen/, "Schedule", killHourly);
    await refuses(/is frozen/, "Workflow", drill());
    await admits("StatusCheck", probe);
    await assert.rejects(patch("NetworkChaos", old, resume), /is frozen/);
    await patch("NetworkChaos", old, { metadata: { annotations: { note: "kept" } } });
    await end("NetworkChaos", old);

    await kube.patch(namespaces, { name: shop }, { metadata: { labels: { "squall.dev/freeze": null } } }, { type: "merge" });
    await admits("PodChaos", kill);
    await set("freeze", { frozen: "['payments']" });
    const inPayments = { ...kill, selector: { namespaces: ["shop", "payments"] } };
    await refuses(/a selector reaches a frozen namespace, one of payments/, "PodChaos", inPayments);
    await refuses(/reaches a frozen/, "PodChaos", { ...kill, selector: { pods: { payments: ["pay-0"] } } });
    const target = { mode: "all", selector: { namespaces: ["payments"] } };
    await refuses(/reaches a frozen/, "NetworkChaos", { ...delay, target });
    await refuses(/reaches a frozen/, "Schedule", { ...hourly, type: "PodChaos", podChaos: inPayments });
    await refuses(/reaches a frozen/, "Workflow", drill({ name: "b", templateType: "PodChaos", podChaos: inPayments }));
    await admits("NetworkChaos", { ...delay, target: { mode: "all", selector: { namespaces: ["shop"] } } });
    await admits("HTTPChaos", http);
    await set("freeze", { frozen: `['${shop}']` });
    await refuses(/namespace gate-shop is frozen, so nothing starts there/, "PodChaos", { ...kill, selector: { namespaces: ["shop"] } });
  });

  it("maximum-share: only a part of what is selected is faulted", async () => {
    const many = /mode and value select too many pods: one, fixed up to 3, and fixed-percent and random-max-percent up to 50 are allowed/;
    const old = await makeBefore("NetworkChaos", { ...delay, mode: "all" });
    await apply("maximum-share");
    await refuses(many, "PodChaos", { ...kill, mode: "all" });
    await refuses(many, "PodChaos", { ...kill, mode: "fixed", value: "4" });
    await refuses(many, "PodChaos", { ...kill, mode: "fixed-percent", value: "51" });
    await refuses(many, "PodChaos", { ...kill, mode: "random-max-percent", value: "100" });
    await refuses(many, "Schedule", { ...hourly, type: "PodChaos", podChaos: { ...kill, mode: "all" } });
    const inSchedule = {
      name: "c",
      templateType: "Schedule",
      schedule: { ...hourly, type: "PodChaos", podChaos: { ...kill, mode: "all" } },
    };
    await refuses(many, "Workflow", drill(inSchedule));
    await refuses(many, "Schedule", { ...hourly, type: "Workflow", workflow: drill(inSchedule) });
    const toAll = { mode: "all", selector };
    await refuses(many, "NetworkChaos", { ...delay, direction: "both", target: toAll });
    for (const [mode, value] of [
      ["one", undefined],
      ["fixed", "3"],
      ["fixed-percent", "50"],
      ["random-max-percent", "10"],
    ])
      await admits("PodChaos", { ...kill, mode, value });
    await admits("NetworkChaos", { ...delay, target: toAll });
    await admits("HTTPChaos", http);
    await admits("GCPChaos", { action: "node-stop", project: "p", zone: "z", instance: "i" });
    await admits("Schedule", killHourly);
    await admits("Workflow", drill({ name: "rest", templateType: "Suspend", deadline: "10s" }));
    // what is older than the gate can still be seen to
    await patch("NetworkChaos", old, { metadata: { annotations: paused } });
    await assert.rejects(patch("NetworkChaos", old, resume), many);
    await end("NetworkChaos", old);
    await set("maximum-share", { mostPercent: "10" });
    await refuses(/up to 10 are allowed/, "PodChaos", { ...kill, mode: "fixed-percent", value: "50" });
  });

  it("ticket: every object names its ticket, and keeps it", async () => {
    const old = await makeBefore("NetworkChaos", delay);
    await apply("ticket");
    const missing = /metadata\.annotations\[squall\.dev\/ticket\]: is missing\. Write one that matches \^\[A-Z\]/;
    await refuses(missing, "PodChaos", kill);
    await refuses(missing, "Schedule", killHourly);
    await refuses(missing, "Workflow", drill());
    await refuses(/"later" is no ticket/, "PodChaos", kill, { "squall.dev/ticket": "later" });
    const ticket = { "squall.dev/ticket": "OPS-17" };
    for (const [kind, spec] of [
      ["PodChaos", kill],
      ["Schedule", killHourly],
      ["Workflow", drill()],
    ] as const)
      await admits(kind, spec, ticket);
    await admits("StatusCheck", probe);
    await patch("NetworkChaos", old, { metadata: { annotations: paused } });
    await patch("NetworkChaos", old, { metadata: { annotations: ticket } });
    await assert.rejects(patch("NetworkChaos", old, { metadata: { annotations: { "squall.dev/ticket": null } } }), missing);
    await end("NetworkChaos", old);
    // the children of a Schedule have the ticket of their parent
    const child = { apiVersion: "chaos-mesh.org/v1alpha1", kind: "PodChaos", ...experiment(kill) };
    const as = (user: string) =>
      kubectl.attempt(["create", "--dry-run=server", "-f", "-", `--as=${user}`, "--as-group=system:masters"], {
        stdin: JSON.stringify(child),
      });
    assert.equal((await as("system:serviceaccount:squall-system:squall-controller")).code, 0);
    assert.match((await as("eve")).stderr, /is missing/);
  });

  it("forbidden-kinds: nowhere, not even inside a Schedule or Workflow", async () => {
    await apply("forbidden-kinds");
    const found = /it uses a kind that is forbidden here: AWSChaos, AzureChaos, GCPChaos, KernelChaos, PhysicalMachineChaos, Task/;
    const kernel = { mode: "one", selector, failKernRequest: { failtype: 0, probability: 50, times: 1, callchain: [] } };
    await refuses(found, "KernelChaos", kernel);
    await refuses(found, "Schedule", { ...hourly, type: "KernelChaos", kernelChaos: kernel });
    const kernelTemplate = { name: "k", templateType: "KernelChaos", deadline: "1m", kernelChaos: kernel };
    await refuses(found, "Workflow", drill(kernelTemplate));
    await refuses(found, "Schedule", { ...hourly, type: "Workflow", workflow: drill(kernelTemplate) });
    const task = { name: "t", templateType: "Task", task: { container: { name: "main", image: "busybox" } } };
    await refuses(/templates of type Task are forbidden here/, "Workflow", drill(task));
    await admits("PodChaos", kill);
    await admits("Schedule", killHourly);
    await admits("Workflow", drill());
    await set("forbidden-kinds", { forbidden: "['NetworkChaos', 'Workflow']" });
    await refuses(/forbidden here: NetworkChaos, Workflow/, "NetworkChaos", delay);
    await refuses(/forbidden here/, "Workflow", drill());
    await admits("KernelChaos", kernel);
  });

  describe("for Kyverno", () => {
    const readKyverno = (gate: string): { readonly spec: object } & NewObject =>
      parse(readFileSync(join(root, `manifests/policy/kyverno/${gate}.yaml`), "utf8")) as never;

    it("are all there", () => {
      assert.deepEqual(
        readdirSync(join(root, "manifests/policy/kyverno")),
        gates.map((gate) => `${gate}.yaml`),
      );
    });

    for (const gate of gates) {
      it(`${gate} has the same rules`, () => {
        const own = { validationActions: ["Deny"], evaluation: { background: { enabled: false } } };
        assert.deepEqual(readKyverno(gate).spec, { ...own, ...readPolicy(gate).spec });
      });
    }

    it("are what the schema of Kyverno's ValidatingPolicy asks for", async () => {
      const crd = parse(readFileSync(join(root, "test/support/kyverno-validatingpolicies.yaml"), "utf8")) as NewObject;
      await kube.create(crds, crd);
      const strictly = (stdin: string) => kubectl.attempt(["create", "--validate=strict", "-f", "-"], { stdin });
      const broken = JSON.stringify({ ...readKyverno("freeze"), spec: { ...readKyverno("freeze").spec, validationAction: ["Deny"] } });
      const isServed = async (): Promise<boolean | string> => {
        const { stderr } = await strictly(broken);
        return stderr.includes('unknown field "spec.validationAction"') || stderr;
      };
      await waitUntil("the schema is served", isServed, patience);
      for (const gate of gates) {
        const { code, stderr } = await strictly(JSON.stringify(readKyverno(gate)));
        assert.equal(code, 0, stderr);
      }
    });
  });
});
