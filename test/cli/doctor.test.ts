import assert from "node:assert/strict";
import { parseVerdict } from "../../api/injection-verdict.ts";
import { type Diagnosis, type Patient, renderDiagnosis } from "../../cli/doctor.ts";

const diagnosis = (some: Partial<Diagnosis>): Diagnosis => ({ namespace: "shop", webhook: "ready", verdict: {}, pods: [late], ...some });
const late: Patient = { pod: "late", finding: { is: "not-injected", isNamespaceOptedIn: true, why: undefined } };

describe("squall doctor", () => {
  it("says which pods the policies of the namespace refuse with a sidecar, and what is not known", () => {
    const verdict = parseVerdict(
      '{"BestEffort":"allowed","Burstable":"refused by LimitRange: maximum memory usage per Container is 100Mi","Guaranteed":"unknown: no"}',
    );
    assert.deepEqual(renderDiagnosis(diagnosis({ verdict })).split("\n").slice(0, 3), [
      "shop refuses Burstable pods with a sidecar, so they get none. LimitRange: maximum memory usage per Container is 100Mi",
      "Whether shop would refuse Guaranteed pods with a sidecar is not known, so they get one: no",
      "",
    ]);
  });

  it("names the pods that late join reaches, and late join where it would", () => {
    const joined: Patient = { pod: "old", finding: { is: "late-join", node: "node-1" } };
    assert.match(renderDiagnosis(diagnosis({ pods: [joined] })), /^old +late join +network faults by the daemon of node node-1$/m);
    assert.match(renderDiagnosis(diagnosis({})), /kubectl label namespace shop squall\.dev\/late-join=enabled$/m);
  });

  it("does not speak of policies where they refuse nothing", () => {
    assert.match(renderDiagnosis(diagnosis({ verdict: parseVerdict('{"BestEffort":"allowed"}') })), /^POD /);
  });

  it("says in which class volumes are left as they are, and nothing else of it", () => {
    const volumes = parseVerdict('{"BestEffort with volumes":"unknown: no","Burstable with volumes":"refused by LimitRange: too much"}');
    assert.equal(
      renderDiagnosis(diagnosis({ verdict: volumes })).split("\n")[0],
      "shop refuses Burstable pods with a sidecar that serves volumes, so their volumes are left as they are. LimitRange: too much",
    );
    assert.match(renderDiagnosis(diagnosis({ pods: [] })), /^No pod in shop has the label/);
  });

  it("says that no webhook is ready only where that is known", () => {
    assert.match(renderDiagnosis(diagnosis({ webhook: "away" })), /^No webhook is ready: .* new pods get no sidecar.*\n\nPOD /);
    for (const webhook of ["ready", "unknown"] as const) assert.match(renderDiagnosis(diagnosis({ webhook })), /^POD /);
  });
});
