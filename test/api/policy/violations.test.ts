import assert from "node:assert/strict";
import type { JsonObject } from "../../../api/json.ts";
import { actsOf } from "../../../api/policy/acts.ts";
import { readPolicy } from "../../../api/policy/read.ts";
import { findViolations, minutesLeft, type Policy, protectorOf } from "../../../api/policy/violations.ts";

const wednesdayNoon = new Date("2026-11-25T12:00:00Z");
const labelsOf = (name: string): Readonly<Record<string, string>> => ({
  "kubernetes.io/metadata.name": name,
  ...(name === "shop" && { env: "production" }),
});

function policy(spec: object, name = "p"): Policy {
  const read = readPolicy({ metadata: { name }, spec });
  assert.ok(read);
  assert.equal(read.problem, undefined);
  return read;
}

function delay({
  namespaces = ["shop"],
  ...spec
}: {
  readonly namespaces?: readonly string[];
  readonly [field: string]: unknown;
} = {}): JsonObject {
  return { spec: { action: "delay", mode: "all", selector: { namespaces }, delay: { latency: "1ms" }, ...spec } };
}

function judge(
  policies: readonly Policy[],
  raw: JsonObject,
  { kind = "NetworkChaos", annotations = {}, now = wednesdayNoon } = {},
): readonly string[] {
  const acts = actsOf(kind, raw, { namespace: "home" });
  return findViolations(policies, { acts, annotations }, { now, labelsOf }).map(({ path, message }) => `${path}: ${message}`);
}

describe("findViolations", () => {
  it("says nothing where no policy covers a namespace that is touched", () => {
    const strict = { allow: [] };
    assert.deepEqual(judge([policy({ ...strict, namespaces: ["bank"] })], delay()), []);
    assert.deepEqual(judge([policy({ ...strict, namespaceSelector: { matchLabels: { env: "test" } } })], delay()), []);
  });

  it("covers by name, by label and everywhere, and where one of several namespaces is covered", () => {
    for (const where of [{ namespaces: ["shop"] }, { namespaceSelector: { matchLabels: { env: "production" } } }, {}])
      assert.equal(judge([policy({ allow: [], ...where })], delay({ namespaces: ["lab", "shop"] })).length, 1, JSON.stringify(where));
  });

  it("names policy, rule and limit for kinds and actions", () => {
    const allowing = policy({ allow: [{ kind: "NetworkChaos", actions: ["loss", "partition"] }] });
    assert.deepEqual(judge([allowing], delay()), [
      'spec.action: "delay" is not allowed by policy p (spec.allow), which allows NetworkChaos loss, partition.',
    ]);
    const kill = { spec: { action: "pod-kill", mode: "one", selector: { namespaces: ["shop"] } } };
    assert.deepEqual(judge([allowing], kill, { kind: "PodChaos" }), [
      "kind: PodChaos is not allowed by policy p (spec.allow), which allows NetworkChaos.",
    ]);
    assert.deepEqual(judge([policy({ allow: [{ kind: "PodChaos" }] })], kill, { kind: "PodChaos" }), []);
  });

  it("limits durations, and takes none for endless", () => {
    const short = policy({ duration: { max: "10m" } });
    assert.deepEqual(judge([short], delay({ duration: "10m" })), []);
    assert.deepEqual(judge([short], delay({ duration: "10m1ms" })), [
      'spec.duration: is longer than policy p (spec.duration.max) allows. Write at most "10m".',
    ]);
    for (const endless of [{}, { duration: "" }])
      assert.deepEqual(judge([short], delay(endless)), [
        'spec.duration: is missing, and policy p (spec.duration) asks for one of at most 10m. Write one such as "10m".',
      ]);
    assert.equal(judge([policy({ duration: { required: true } })], delay()).length, 1);
    assert.deepEqual(judge([policy({ duration: {} })], delay()), []);
    const kill = { spec: { action: "pod-kill", mode: "one", selector: { namespaces: ["shop"] } } };
    assert.deepEqual(judge([short], kill, { kind: "PodChaos" }), []);
  });

  it("of several policies reports every violation of each", () => {
    const policies = [policy({ duration: { max: "1h" } }, "loose"), policy({ duration: { max: "1m" } }, "strict")];
    assert.deepEqual(judge(policies, delay({ duration: "30m" })), [
      'spec.duration: is longer than policy strict (spec.duration.max) allows. Write at most "1m".',
    ]);
    assert.equal(judge(policies, delay({ duration: "2h" })).length, 2);
  });

  it("asks for annotations", () => {
    const ticket = policy({ requiredAnnotations: [{ key: "example.com/ticket", pattern: "OPS-*" }, { key: "why" }] });
    assert.deepEqual(judge([ticket], delay()), [
      'metadata.annotations["example.com/ticket"]: is missing, and policy p (spec.requiredAnnotations) asks for one that looks like "OPS-*".',
      "metadata.annotations.why: is missing, and policy p (spec.requiredAnnotations) asks for one.",
    ]);
    assert.deepEqual(judge([ticket], delay(), { annotations: { "example.com/ticket": "DEV-1", why: "drill" } }), [
      'metadata.annotations["example.com/ticket"]: "DEV-1" is refused by policy p (spec.requiredAnnotations). Write one that looks like "OPS-*".',
    ]);
    assert.deepEqual(judge([ticket], delay(), { annotations: { "example.com/ticket": "OPS-1", why: "drill" } }), []);
  });

  it("refuses outside of every window, and names the windows", () => {
    const hours = policy({
      windows: [
        { from: "09:00", to: "11:00" },
        { days: ["Wed"], from: "13:00", to: "16:00", timeZone: "Europe/Berlin" },
      ],
    });
    assert.deepEqual(judge([hours], delay()), []);
    assert.deepEqual(judge([hours], delay(), { now: new Date("2026-11-26T12:00:00Z") }), [
      "metadata.creationTimestamp: Policy p (spec.windows) allows no experiments at this time, 2026-11-26T12:00Z. Allowed: 09:00-11:00 UTC; Wed 13:00-16:00 Europe/Berlin.",
    ]);
    assert.equal(minutesLeft([hours], wednesdayNoon), 180);
    assert.equal(minutesLeft([policy({})], wednesdayNoon), undefined);
  });

  it("looks through Schedules and Workflows, whose templates end by their deadline", () => {
    const { spec: slow } = delay();
    const policies = [policy({ allow: [{ kind: "NetworkChaos", actions: ["delay"] }], duration: { max: "10m" } })];
    const workflow = {
      spec: {
        entry: "all",
        templates: [
          { name: "all", templateType: "Parallel", children: ["slow", "endless", "killing", "nightly"] },
          { name: "slow", templateType: "NetworkChaos", deadline: "10m", networkChaos: slow },
          { name: "endless", templateType: "NetworkChaos", networkChaos: slow },
          {
            name: "killing",
            templateType: "PodChaos",
            deadline: "1m",
            podChaos: { action: "pod-kill", mode: "one", selector: { namespaces: ["shop"] } },
          },
          {
            name: "nightly",
            templateType: "Schedule",
            deadline: "1m",
            schedule: {
              schedule: "@daily",
              type: "NetworkChaos",
              concurrencyPolicy: "Forbid",
              networkChaos: { ...Object(slow), duration: "1h" },
            },
          },
        ],
      },
    };
    assert.deepEqual(judge(policies, workflow, { kind: "Workflow" }), [
      'spec.templates[2].deadline: is missing, and policy p (spec.duration) asks for one of at most 10m. Write one such as "10m".',
      "spec.templates[3].podChaos: PodChaos is not allowed by policy p (spec.allow), which allows NetworkChaos.",
      'spec.templates[4].schedule.networkChaos.duration: is longer than policy p (spec.duration.max) allows. Write at most "10m".',
    ]);
  });

  it("allows nothing by a policy that cannot be read, unless it is not enabled", () => {
    const broken = { metadata: { name: "broken" }, spec: { duration: { max: "1 hour" } } };
    const read = readPolicy(broken);
    assert.ok(read);
    assert.match(judge([read], delay()).join("\n"), /^kind: Policy broken cannot be read, .* spec\.duration\.max: "1 hour" is no duration/);
    assert.equal(readPolicy({ ...broken, spec: { ...broken.spec, enabled: false } }), undefined);
  });
});

describe("protectorOf", () => {
  it("finds the policy that protects a pod, where it covers its namespace", () => {
    const policies = [
      policy({
        namespaces: ["shop"],
        protected: [{ matchLabels: { tier: "pay" } }, { matchExpressions: [{ key: "db", operator: "Exists" }] }],
      }),
    ];
    const find = (namespace: string, labels: Readonly<Record<string, string>>): string | undefined =>
      protectorOf(policies, { namespace, labels }, labelsOf)?.name;
    assert.equal(find("shop", { tier: "pay" }), "p");
    assert.equal(find("shop", { db: "" }), "p");
    assert.equal(find("shop", { tier: "front" }), undefined);
    assert.equal(find("lab", { tier: "pay" }), undefined);
  });
});
