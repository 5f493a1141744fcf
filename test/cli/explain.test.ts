import assert from "node:assert/strict";
import { podExplanation } from "../../api/pod-explanation.ts";
import { explainRefusal, renderExplanation } from "../../cli/explain.ts";
import { errorOfUpgrade } from "../../kube/errors.ts";

describe("explainRefusal", () => {
  const rows: readonly (readonly [said: string, explanation: string])[] = [
    ["Unexpected server response: 404", "There is no pod web-0 in namespace shop. See: kubectl get pods -n shop"],
    [
      "Unexpected server response: 403",
      "You have no right to create pods/exec in namespace shop. See: kubectl auth can-i create pods/exec -n shop",
    ],
    [
      "Unexpected server response: 400",
      "Pod shop/web-0 has no Squall sidecar, or is on no node yet. Why: npm run squall -- -n shop doctor",
    ],
    ["Unexpected server response: 500", "exec in shop/web-0 was answered with 500: no text"],
    ["connect ECONNREFUSED 127.0.0.1:6443", "exec in shop/web-0: connect ECONNREFUSED 127.0.0.1:6443"],
  ];
  for (const [said, explanation] of rows)
    it(`says what is missing: ${said}`, () => {
      assert.equal(explainRefusal(errorOfUpgrade("exec in shop/web-0", said), { namespace: "shop", pod: "web-0" }), explanation);
    });
});

describe("renderExplanation", () => {
  /** What a sidecar without volumes prints, also an older one. */
  const plain = {
    version: "1",
    passport: {
      engines: ["netem"],
      missing: [],
      iptables: "nft",
      families: ["ipv4"],
      devices: ["eth0"],
      hasIfb: false,
      hasMeshRedirect: false,
      hasBpf: false,
    },
    faults: [],
    classes: [],
  };

  it("says nothing of volumes where there are none", () =>
    assert.equal(
      renderExplanation("web-0", podExplanation.parse(plain)),
      "web-0: sidecar 1, iptables-nft, ipv4, engines netem\nNo fault is in force on this pod.",
    ));

  it("tells which volumes are served and which operations faults are on", () => {
    const text = renderExplanation(
      "store-0",
      podExplanation.parse({
        ...plain,
        faults: [{ id: "a", experiment: "IOChaos/shop/slow", state: "ACTIVE", reason: "", message: "" }],
        volumes: [
          { name: "data", state: "serving", reason: "", message: "" },
          { name: "cache", state: "waiting", reason: "", message: "" },
          { name: "big", state: "refused", reason: "NoSuchFolder", message: "There is none." },
        ],
        operations: [{ experiment: "IOChaos/shop/slow", volume: "data", files: "/data/**", methods: "all", effect: "delayed by 250 ms" }],
      }),
    );
    assert.match(
      text,
      /^Volumes behind FUSE: data, cache \(waits for the daemon of its node\), big \(refused: NoSuchFolder: There is none\.\)$/m,
    );
    assert.match(text, /^data +\/data\/\*\* +all +IOChaos\/shop\/slow +delayed by 250 ms *$/m);
  });
});
