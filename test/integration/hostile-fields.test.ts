import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { parse } from "yaml";
import * as z from "zod";
import { isJsonObject, type JsonObject } from "../../api/json.ts";
import { kinds } from "../../api/kinds/registry.ts";
import { connectKube } from "../../kube/client.ts";
import { namespaces } from "../../kube/resources.ts";
import { startTestApiServer, type TestApiServer } from "../support/api-server.ts";
import { manifestsOf } from "../support/manifests.ts";
import { startTestWebhook, type TestWebhook } from "./support/webhook.ts";

/**
 * Each place of a spec, as sound manifests have it, with each kind of nonsense in it, through a real API server and the webhook: what comes back
 * is a refusal that names the place, in words of a sane length; what is admitted all the same, the table below has.
 */
const LONG = "x".repeat(1 << 20);
const nonsense: Readonly<Record<string, unknown>> = {
  "a number": 17.5,
  "a boolean": true,
  "a list": [["x"]],
  "an object": { x: "y" },
  "an empty text": "",
  "a wrong unit": "12 parsecs",
  "shell metacharacters": "; $(reboot) `id` | tee && x",
  "a line break": "a\nb: c",
  "a NUL": "a\u0000b",
  "1 MiB": LONG,
};

/** Where some of it is sense, or the same as nothing. */
const sense: readonly (readonly [place: RegExp, what: string])[] = [
  [/(label|annotation|node)Selectors\{\}$/, "an object"],
  [/(Selectors\.\*|expressionSelectors\[\]\.values\[\])$/, "an empty text"],
  [/\.(direction|device|targetDevice|jitter|correlation|duration)$/, "an empty text"],
  [/\.affectProbes$/, "a boolean"],
];

const SHOP = "hostile-shop";
const kubeconfigOf = z.object({
  users: z.tuple([z.object({ user: z.object({ "client-certificate-data": z.string(), "client-key-data": z.string() }) })]),
});

type Step = string | number;
interface Place {
  /** Such as spec.delay.latency, or spec.ports[]. */
  readonly name: string;
  readonly steps: readonly Step[];
  readonly object: JsonObject;
}

/** All values that are no object and no list, and all objects with the name `{}`. */
function placesOf(value: unknown, object: JsonObject, steps: readonly Step[], name: string): readonly Place[] {
  const here: Place = { name, steps, object };
  if (Array.isArray(value)) return value.flatMap((item, index) => placesOf(item, object, [...steps, index], `${name}[]`));
  if (!isJsonObject(value)) return [here];
  const isMap = /(Selectors|pods)$/.test(name);
  return [
    { ...here, name: `${name}{}` },
    ...Object.entries(value).flatMap(([key, member]) => placesOf(member, object, [...steps, key], isMap ? `${name}.*` : `${name}.${key}`)),
  ];
}

/** The object with another value at this place. */
function replaced(value: unknown, [step, ...steps]: readonly Step[], change: (old: unknown) => unknown): unknown {
  if (step === undefined) return change(value);
  if (Array.isArray(value)) return value.map((item, index) => (index === step ? replaced(item, steps, change) : item));
  assert.ok(isJsonObject(value));
  return { ...value, [step]: replaced(value[step], steps, change) };
}

for (const kind of ["NetworkChaos", "PodChaos"] as const) {
  describe(`nonsense in each place of a ${kind}, at a real API server`, function () {
    this.timeout(120_000);
    let api: TestApiServer;
    let webhook: TestWebhook;
    let agent: Agent;
    const closers: (() => Promise<void>)[] = [];
    const places = new Map<string, Place>();
    for (const { object, verdict } of manifestsOf(kind))
      if (verdict === "accept")
        for (const place of placesOf(object["spec"], object, ["spec"], "spec")) if (!places.has(place.name)) places.set(place.name, place);

    before(async () => {
      api = await startTestApiServer();
      closers.push(() => api.close());
      const kube = connectKube({ process: "test", version: "0", kubeconfig: api.kubeconfig });
      closers.push(() => kube.close());
      webhook = await startTestWebhook(kube);
      closers.push(() => webhook.close());
      webhook.policy.admitUnsupported = true;
      await kube.create(namespaces, { metadata: { name: SHOP, labels: { "squall.dev/inject": "enabled" } } });
      const { user } = kubeconfigOf.parse(parse(readFileSync(api.kubeconfig, "utf8"))).users[0];
      const decode = (text: string): string => Buffer.from(text, "base64").toString();
      agent = new Agent({
        keepAlive: true,
        cert: decode(user["client-certificate-data"]),
        key: decode(user["client-key-data"]),
        ca: api.ca.certificate,
      });
      closers.push(() => Promise.resolve(agent.destroy()));
    });
    after(async () => {
      for (const close of closers.toReversed()) await close();
    });

    /** As kubectl sends it, with fields checked strictly. */
    function send(object: unknown): Promise<{ readonly code: number; readonly message: string }> {
      const { group, plural } = kinds[kind];
      const url = `${api.url}/apis/${group}/v1alpha1/namespaces/${SHOP}/${plural}?dryRun=All&fieldValidation=Strict`;
      return new Promise((resolve, reject) => {
        const call = request(url, { method: "POST", agent, headers: { "content-type": "application/json" } }, (answer) => {
          let text = "";
          answer.on("data", (chunk) => (text += String(chunk)));
          answer.on("end", () => {
            const { message = "" } = JSON.parse(text) as { readonly message?: string };
            resolve({ code: answer.statusCode ?? 0, message });
          });
        });
        call.on("error", reject);
        call.end(JSON.stringify(object));
      });
    }
    const placed = ({ object, steps }: Place, change: (old: unknown) => unknown): unknown => {
      const changed = replaced(object, steps, change);
      assert.ok(isJsonObject(changed));
      return { ...changed, metadata: { name: "hostile", namespace: SHOP } };
    };

    it("is refused by the name of the place", async () => {
      assert.ok(places.size > 20, "there are too few places");
      const wrong: string[] = [];
      for (const place of places.values()) {
        for (const [what, value] of Object.entries(nonsense)) {
          const { code, message } = await send(placed(place, () => value));
          const last = place.steps.findLast((step) => typeof step === "string") ?? "";
          const isSense = sense.some(([where, kindOf]) => kindOf === what && where.test(place.name));
          const isRefused = [400, 403, 422].includes(code) && message.includes(last) && message.length < 8_000;
          if (isSense ? code !== 201 : !isRefused) wrong.push(`${place.name}, ${what}: ${code} ${message.slice(0, 200)}`);
        }
      }
      assert.deepEqual(wrong, []);
    });

    it("is refused where it is a member that nobody knows", async () => {
      for (const place of places.values()) {
        if (!place.name.endsWith("{}") || /(Selectors|pods)\{\}$/.test(place.name)) continue;
        const { code, message } = await send(placed(place, (old) => ({ ...(old as object), dealy: "200ms" })));
        assert.equal(code, 400, `${place.name}: ${code} ${message}`);
        assert.match(message, /unknown field "spec\S*dealy"/);
      }
    });
  });
}
