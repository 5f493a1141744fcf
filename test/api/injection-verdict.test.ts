import assert from "node:assert/strict";
import fc from "fast-check";
import {
  type ClassVerdict,
  joinVerdicts,
  judgeTrials,
  type NamespaceVerdict,
  parseRefusal,
  parseVerdict,
  renderVerdict,
  type Trial,
} from "../../api/injection-verdict.ts";

const refused: ClassVerdict = { is: "refused", by: "LimitRange", message: "too much" };
const unknown: ClassVerdict = { is: "unknown", message: "without a sidecar it is refused, too, by Other: no" };
const admitted = (hasSidecar: boolean): Trial => ({ is: "admitted", quality: "Burstable", hasSidecar });
const said = (text: string): Trial => ({ is: "refused", said: text });

describe("the verdict of a namespace", () => {
  it("reads like this in the annotation", () => {
    const verdict: NamespaceVerdict = { Guaranteed: { is: "allowed" }, Burstable: refused, BestEffort: unknown };
    assert.equal(
      renderVerdict(verdict),
      '{"BestEffort":"unknown: without a sidecar it is refused, too, by Other: no","Burstable":"refused by LimitRange: too much","Guaranteed":"allowed"}',
    );
    assert.deepEqual(parseVerdict(renderVerdict(verdict)), verdict);
  });

  it("comes back from the annotation whatever the API server said", () => {
    fc.assert(
      fc.property(fc.string(), fc.constantFrom("refused", "unknown"), (message, is) => {
        const verdict: NamespaceVerdict = { Burstable: is === "refused" ? { is, by: "Other", message } : { is: "unknown", message } };
        assert.deepEqual(parseVerdict(renderVerdict(verdict)), verdict);
      }),
    );
  });

  it("says nothing where somebody else wrote the annotation", () => {
    for (const text of [
      undefined,
      "",
      "refused",
      "[]",
      "null",
      '"allowed"',
      '{"Burstable":7}',
      '{"Burstable":"maybe"}',
      '{"Other":"allowed"}',
    ])
      assert.deepEqual(parseVerdict(text), {});
    fc.assert(fc.property(fc.json(), (text) => void parseVerdict(text)));
    assert.deepEqual(parseVerdict('{"Burstable":"refused by Martians: no"}').Burstable, { is: "refused", by: "Other", message: "no" });
  });
});

describe("parseRefusal", () => {
  const table = [
    ['pods "a" is forbidden: violates PodSecurity "baseline:latest": non-default capabilities', "PodSecurity"],
    [
      'pods "a" is forbidden: exceeded quota: team, requested: requests.cpu=50m, used: requests.cpu=1, limited: requests.cpu=1',
      "ResourceQuota",
    ],
    ['pods "a" is forbidden: failed quota: team: must specify limits.cpu for: squall-sidecar', "ResourceQuota"],
    ['pods "a" is forbidden: maximum memory usage per Container is 100Mi, but limit is 160Mi', "LimitRange"],
    ['pods "a" is forbidden: minimum cpu usage per Pod is 100m, but request is 60m', "LimitRange"],
    ['pods "a" is forbidden: cpu max limit to request ratio per Container is 2, but provided ratio is 3.3', "LimitRange"],
    ['admission webhook "validate.kyverno.svc-fail" denied the request: no', "AdmissionPolicy"],
    ["pods \"a\" is forbidden: ValidatingAdmissionPolicy 'x' with binding 'y' denied request: no", "AdmissionPolicy"],
    ['Pod "a" is invalid: spec.volumes', "Other"],
  ] as const;
  for (const [text, by] of table) it(`finds ${by} in ${JSON.stringify(text.slice(0, 60))}`, () => assert.equal(parseRefusal(text).by, by));

  it("keeps what matters, on one line that fits a warning", () => {
    assert.equal(parseRefusal('pods "squall-sample-x" is forbidden: exceeded\n  quota').message, "exceeded quota");
    const { message } = parseRefusal("x".repeat(1_000));
    assert.equal(message.length, 160);
    assert.ok(message.endsWith("…"));
  });
});

describe("judgeTrials", () => {
  it("follows this table", () => {
    type Is = ClassVerdict["is"];
    const no = said("no");
    const table: readonly (readonly [plain: Trial, injected: Trial, served: Trial, verdict: Is, withVolumes: Is | undefined])[] = [
      [admitted(false), admitted(true), admitted(true), "allowed", "allowed"],
      [admitted(false), admitted(true), no, "allowed", "refused"],
      [admitted(false), admitted(false), admitted(false), "unknown", "unknown"],
      [admitted(false), no, no, "refused", undefined],
      [no, no, no, "unknown", undefined],
      [no, admitted(true), admitted(true), "allowed", "allowed"],
    ];
    for (const [plain, injected, served, ...expected] of table) {
      const [verdict, withVolumes] = judgeTrials("Guaranteed", { plain, injected, served });
      assert.deepEqual([verdict?.verdict.is, withVolumes?.verdict.is], expected);
    }
  });

  it("counts for the class that defaults of a LimitRange put the pod into", () => {
    const classesOf = (plain: Trial, injected: Trial): readonly string[] =>
      judgeTrials("BestEffort", { plain, injected, served: injected }).map(({ podClass }) => podClass);
    assert.deepEqual(classesOf(admitted(false), admitted(true)), ["Burstable", "Burstable with volumes"]);
    assert.deepEqual(classesOf(admitted(false), said("no")), ["Burstable"]);
    assert.deepEqual(classesOf(said("no"), said("no")), ["BestEffort"]);
  });
});

describe("joinVerdicts", () => {
  it("takes the worst of several for one class", () => {
    const found = [unknown, { is: "allowed" } as const, refused].map((verdict) => ({ podClass: "Burstable" as const, verdict }));
    assert.deepEqual(joinVerdicts({}, found), { Burstable: refused });
    assert.deepEqual(joinVerdicts({}, found.slice(0, 2)), { Burstable: { is: "allowed" } });
    assert.deepEqual(joinVerdicts({}, [...found.slice(0, 2), { podClass: "Burstable with volumes", verdict: refused }]), {
      Burstable: { is: "allowed" },
      "Burstable with volumes": refused,
    });
  });

  it("keeps what was known while a quota is used up, and forgets it otherwise", () => {
    const usedUp: ClassVerdict = { is: "unknown", message: "without a sidecar it is refused, too, by ResourceQuota: exceeded quota: team" };
    const before: NamespaceVerdict = { Burstable: refused, Guaranteed: { is: "allowed" } };
    assert.deepEqual(joinVerdicts(before, [{ podClass: "Burstable", verdict: usedUp }]), { Burstable: refused });
    assert.deepEqual(joinVerdicts({}, [{ podClass: "Burstable", verdict: usedUp }]), { Burstable: usedUp });
    assert.deepEqual(joinVerdicts(before, [{ podClass: "Burstable", verdict: unknown }]), { Burstable: unknown });
  });
});
