import assert from "node:assert/strict";
import { Passports } from "../../../controller/agents/passports.ts";
import { emptyPassport } from "../../support/fake-family.ts";

describe("Passports", () => {
  it("has the newest of each pod, and lets go of pods that are no more", () => {
    const passports = new Passports();
    passports.learn("a", { ...emptyPassport, engines: ["nfqueue"] });
    passports.learn("a", { ...emptyPassport, engines: ["netem"] });
    passports.learn("b", emptyPassport);
    assert.deepEqual(passports.of("a")?.engines, ["netem"]);
    assert.equal(passports.of("c"), undefined);
    passports.keepOnly((uid) => uid === "b");
    assert.equal(passports.of("a"), undefined);
    assert.equal(passports.size, 1);
  });

  it("keeps no more of what a pod says than fits into a message", () => {
    const passports = new Passports();
    passports.learn("a", { ...emptyPassport, missing: ["x".repeat(10_000), "two\nlines"], devices: Array<string>(1_000).fill("eth0") });
    const kept = passports.of("a");
    assert.deepEqual(
      kept?.missing.map(({ length }) => length),
      [200, 9],
    );
    assert.equal(kept?.missing[1], "two?lines");
    assert.equal(kept?.devices.length, 32);
  });
});
