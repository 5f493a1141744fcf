import assert from "node:assert/strict";
import * as z from "zod";
import { isExperimentName } from "../../api/kinds/experiments.ts";
import { type KindName, kinds } from "../../api/kinds/registry.ts";
import { FINALIZER } from "../../common/names.ts";
import { connectKube, type KubeConnection } from "../../kube/client.ts";
import { isKubeError } from "../../kube/errors.ts";
import type { Resource } from "../../kube/kube.ts";
import { namespaces, resourceOf } from "../../kube/resources.ts";
import { waitUntil } from "../../lab/wait-until.ts";
import { startTestApiServer } from "../support/api-server.ts";
import { type Manifest, manifests } from "../support/manifests.ts";
import { startTestWebhook, type TestWebhook } from "./support/webhook.ts";

const loose = z.looseObject({
  metadata: z.looseObject({ name: z.string(), finalizers: z.array(z.string()).optional() }),
  spec: z.unknown().optional(),
});
const resourceFor = (kind: KindName): Resource<z.output<typeof loose>> => {
  const { group, plural, scope } = kinds[kind];
  return resourceOf({ group, version: "v1alpha1", kind, plural, isNamespaced: scope === "Namespaced" }, loose);
};

type Answer =
  | { readonly is: "admitted"; readonly spec: unknown; readonly finalizers: readonly string[] }
  | { readonly is: "refused"; readonly by: "webhook" | "CRD"; readonly message: string };

/** What the API server does first with members that no schema has: it takes them out, and says so to clients that ask. */
const isOfUnknown = (mistake: string): boolean => mistake.includes(": is not known here.");

describe("every manifest of test/data, at a real API server", () => {
  let kube: KubeConnection;
  let webhook: TestWebhook;
  const closers: (() => Promise<void>)[] = [];

  before(async () => {
    const api = await startTestApiServer();
    closers.push(() => api.close());
    kube = connectKube({ process: "test", version: "0", kubeconfig: api.kubeconfig });
    closers.push(() => kube.close());
    webhook = await startTestWebhook(kube);
    closers.push(() => webhook.close());
    const used = new Set(manifests.flatMap(({ object }) => object.metadata.namespace ?? []));
    for (const name of used) await kube.create(namespaces, { metadata: { name } });
  });
  after(async () => {
    for (const close of closers.toReversed()) await close();
  });

  async function send({ kind, object }: Pick<Manifest, "kind" | "object">): Promise<Answer> {
    try {
      const { metadata, spec } = await kube.create(resourceFor(kind), object, { dryRun: true });
      return { is: "admitted", spec, finalizers: metadata.finalizers ?? [] };
    } catch (error) {
      if (!isKubeError(error, "forbidden", "invalid")) throw error;
      return { is: "refused", by: error.kind === "forbidden" ? "webhook" : "CRD", message: error.message };
    }
  }

  describe("with the webhook", () => {
    for (const manifest of manifests) {
      const { title, verdict, mistakes, kind, object } = manifest;
      const namespace = object.metadata.namespace ?? "";

      if (verdict === "reject")
        it(`is refused with all that is wrong, and nothing else: ${kind}, ${title}`, async () => {
          const answer = await send(manifest);
          assert.ok(answer.is === "refused" && answer.by === "webhook", JSON.stringify(answer));
          const told = answer.message.split("\n").flatMap((line) => (line.startsWith("  ") ? [line.slice(2)] : []));
          assert.deepEqual(
            told.toSorted(),
            mistakes.filter((mistake) => !isOfUnknown(mistake)),
          );
        });
      else if (kinds[kind].madeBy === "controller")
        it(`is refused to everybody but the controller: ${kind}, ${title}`, async () => {
          const answer = await send(manifest);
          assert.ok(
            answer.is === "refused" && answer.by === "webhook" && answer.message.includes("OnlyByController"),
            JSON.stringify(answer),
          );
        });
      else
        it(`is admitted with its defaults, or is told what cannot be carried out yet: ${kind}, ${title}`, async () => {
          const judged = kinds[kind].judge(object, { namespace });
          assert.ok(judged.ok);
          webhook.policy.admitUnsupported = true;
          const lenient = await send(manifest);
          webhook.policy.admitUnsupported = false;
          const strict = await send(manifest);
          assert.ok(lenient.is === "admitted", JSON.stringify(lenient));
          // The API server fills the defaults of embedded specs in; Squall leaves those to whoever makes objects of them.
          const asStored = judged.embedded.length === 0 ? judged : kinds[kind].judge({ ...object, spec: lenient.spec }, { namespace });
          assert.ok(asStored.ok);
          assert.deepEqual(lenient.spec, JSON.parse(JSON.stringify(asStored.spec)));
          assert.deepEqual(lenient.finalizers, isExperimentName(kind) ? [FINALIZER] : []);
          assert.equal(strict.is, judged.unsupported.length > 0 ? "refused" : "admitted");
          for (const { path, message } of judged.unsupported)
            assert.ok(
              strict.is === "refused" && strict.message.includes("NotYetSupported: ") && strict.message.includes(`  ${path}: ${message}`),
            );
        });
    }
  });

  // Last, as it takes the webhook away.
  describe("without the webhook", () => {
    before(async () => {
      await webhook.remove();
      const wrong = manifests.find(({ verdict, isHeldByCrd }) => verdict === "reject" && isHeldByCrd);
      assert.ok(wrong);
      const isAlone = async (): Promise<boolean> => {
        const answer = await send(wrong);
        return answer.is === "admitted" || answer.by !== "webhook";
      };
      await waitUntil("the webhook is not asked any more", isAlone, { timeoutMs: 20_000 });
    });

    for (const manifest of manifests) {
      const { title, verdict, isHeldByCrd, kind } = manifest;
      const isAdmitted = (verdict === "accept") === isHeldByCrd;
      it(`is ${isAdmitted ? "admitted" : "refused"} by the CRD: ${kind}, ${title}`, async () => {
        const answer = await send(manifest);
        assert.equal(answer.is, isAdmitted ? "admitted" : "refused", JSON.stringify(answer));
        if (answer.is === "refused") assert.equal(answer.by, "CRD");
      });
    }
  });
});
