import assert from "node:assert/strict";
import { globSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { experimentNames, experiments, isExperimentName } from "../../api/kinds/experiments.ts";
import { notYetActions, notYetKinds } from "../../api/kinds/not-yet.ts";
import { planCrd } from "../../api/crd.ts";
import { fileNameOf, isKindName, type KindName, kindNames, kinds, schemaOf } from "../../api/kinds/registry.ts";
import { binderOf } from "../../controller/kinds/translators.ts";

const root = join(import.meta.dirname, "..", "..");
const pageOf = (kind: KindName): string => `docs/kinds/${fileNameOf(kind)}.md`;
const read = (path: string): string => readFileSync(join(root, path), "utf8");

interface Example {
  readonly file: string;
  readonly object: { readonly kind: KindName; readonly metadata: { readonly namespace?: string } };
}
const parseFile = (file: string, text: string): readonly Example[] =>
  parseAllDocuments(text).map((document) => ({ file, object: document.toJS() as Example["object"] }));
const examples = globSync("examples/**/*.yaml", { cwd: root }).flatMap((file) => parseFile(file, read(file)));
const onPages = kindNames.flatMap((kind) =>
  [...read(pageOf(kind)).matchAll(/```yaml\n([^`]*)```/g)].flatMap((match) => parseFile(pageOf(kind), match[1] ?? "")),
);

describe("every kind", () => {
  for (const kind of kindNames) {
    const isWritten = kinds[kind].madeBy === "anyone";
    it(`${kind} has ${isWritten ? "an example, " : ""}a page, and a CRD under 200 KB`, () => {
      assert.equal(
        examples.some(({ object }) => object.kind === kind),
        isWritten,
        `examples/ has what people write, so ${isWritten ? "one" : "none"} of ${kind}`,
      );
      assert.ok(
        onPages.some(({ object }) => object.kind === kind),
        `no example of ${kind} on ${pageOf(kind)}`,
      );
      // Client-side kubectl apply keeps the whole CRD in an annotation, and all annotations together may have 256 KiB.
      assert.ok(statSync(join(root, `manifests/crds/${kinds[kind].plural}.yaml`)).size < 200_000);
      assert.ok(JSON.stringify(planCrd(kinds[kind], schemaOf)).length < 200_000);
    });
  }

  for (const { file, object } of [...examples, ...onPages]) {
    const isCarriedOut = !(notYetKinds as readonly string[]).includes(object.kind);
    it(`is admitted as ${file} shows it${isCarriedOut ? ", and can be carried out" : ", but for NotYetSupported"}`, () => {
      const judged = kinds[object.kind].judge(object, { namespace: object.metadata.namespace ?? "" });
      assert.ok(judged.ok, JSON.stringify(judged));
      // The kind itself, then what is embedded in it.
      assert.equal(judged.unsupported[0]?.path, isCarriedOut ? undefined : "kind");
      for (const { message } of judged.unsupported) assert.match(message, /cannot be carried out yet\.$/);
      assert.deepEqual(judged.ineffective, []);
      assert.match(judged.explanation, /^[A-Z].*\.$/);
      if (isExperimentName(object.kind)) assert.equal(binderOf(object.kind)(object).can, isCarriedOut ? "run" : "not-yet");
    });
  }
});

describe("not-yet.ts", () => {
  it("lists kinds and actions that exist, and no action of a kind that is listed as a whole", () => {
    const listed: readonly string[] = notYetKinds;
    for (const kind of listed) assert.ok(isKindName(kind), kind);
    for (const [kind, actions] of Object.entries(notYetActions)) {
      assert.ok(isExperimentName(kind) && !listed.includes(kind), kind);
      for (const action of actions) {
        const judged = experiments[kind].judge({ spec: { action } }, { namespace: "shop" });
        assert.ok(judged.ok || judged.errors.every(({ path }) => path !== "spec.action"), `${kind} has no action ${action}`);
      }
    }
  });
});

describe("manifests/controller.yaml", () => {
  it("lets the controller watch experiments of every kind and write their status, so that each can be told and let go", () => {
    interface Role {
      readonly kind: string;
      readonly rules: readonly { readonly apiGroups: readonly string[]; readonly resources: readonly string[]; readonly verbs: unknown }[];
    }
    const roles = parseAllDocuments(read("manifests/controller.yaml")).map((document) => document.toJS() as Role);
    const rules = roles
      .filter(({ kind }) => kind === "ClusterRole")
      .flatMap((role) => role.rules)
      .filter(({ apiGroups }) => apiGroups.includes("chaos-mesh.org"));
    const plurals = experimentNames.map((kind) => experiments[kind].plural).toSorted();
    assert.deepEqual(rules, [
      { apiGroups: ["chaos-mesh.org"], verbs: ["get", "list", "watch", "patch"], resources: plurals },
      { apiGroups: ["chaos-mesh.org"], verbs: ["patch"], resources: plurals.map((plural) => `${plural}/status`) },
    ]);
  });
});

describe("manifests/webhook.yaml", () => {
  interface Configuration {
    readonly kind: string;
    readonly webhooks: readonly { readonly name: string; readonly rules: readonly Sent[] }[];
  }
  interface Sent {
    readonly apiGroups: readonly string[];
    readonly resources: readonly string[];
    readonly operations: readonly string[];
  }
  const sentBy = (configurationKind: string): readonly Sent[] =>
    parseAllDocuments(read("manifests/webhook.yaml"))
      .map((document) => document.toJS() as Configuration)
      .filter(({ kind }) => kind === configurationKind)
      .flatMap(({ webhooks }) => webhooks)
      .filter(({ name }) => name !== "inject.squall.dev")
      .flatMap(({ rules }) => rules);

  for (const configuration of ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"])
    it(`sends creations and updates of every kind once to a webhook of the ${configuration}`, () => {
      for (const name of kindNames) {
        const { group, plural } = kinds[name];
        const sent = sentBy(configuration).filter(
          ({ apiGroups, resources }) => apiGroups.includes(group) && (resources.includes("*") || resources.includes(plural)),
        );
        const changes = sent.flatMap(({ operations }) => operations).filter((operation) => operation !== "DELETE");
        assert.deepEqual(changes.toSorted(), ["CREATE", "UPDATE"], name);
      }
    });

  it("sends no deletion but that of a Halt", () => {
    const deletions = [...sentBy("MutatingWebhookConfiguration"), ...sentBy("ValidatingWebhookConfiguration")].filter(({ operations }) =>
      operations.includes("DELETE"),
    );
    assert.deepEqual(
      deletions.map(({ apiGroups, resources }) => [apiGroups, resources]),
      [[["squall.dev"], ["halts"]]],
    );
  });
});
