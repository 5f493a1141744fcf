import assert from "node:assert/strict";
import { ConfigError, readConfig, value } from "../../common/config.ts";

describe("readConfig", () => {
  const shape = {
    port: value.port(),
    lameDuck: value.or(value.durationMs(), 5),
    isOn: value.or(value.flag(), false),
    names: value.or(value.list(), []),
  };

  it("reads SQUALL_ variables into typed values", () => {
    const environment = { SQUALL_PORT: "9443", SQUALL_LAME_DUCK: "1.5s", SQUALL_IS_ON: "true", SQUALL_NAMES: "a, b,," };
    assert.deepEqual(readConfig(shape, environment), { port: 9443, lameDuck: 1500, isOn: true, names: ["a", "b"] });
  });

  it("takes an empty variable for an absent one", () => {
    assert.deepEqual(readConfig(shape, { SQUALL_PORT: "1", SQUALL_LAME_DUCK: "" }), { port: 1, lameDuck: 5, isOn: false, names: [] });
  });

  it("takes no list without an entry", () => {
    assert.throws(() => readConfig({ names: value.list() }, { SQUALL_NAMES: "" }), /SQUALL_NAMES: is not set\./);
    assert.throws(() => readConfig({ names: value.list() }, { SQUALL_NAMES: " ," }), /SQUALL_NAMES: " ," is no list\./);
    assert.throws(() => readConfig({ ports: value.ports() }, { SQUALL_PORTS: "," }), /SQUALL_PORTS: "," is no list of ports\./);
  });

  it("names every mistake at once", () => {
    assert.throws(
      () => readConfig(shape, { SQUALL_LAME_DUCK: "10", SQUALL_IS_ON: "yes" }),
      (error) =>
        error instanceof ConfigError &&
        error.message.includes("3 mistakes") &&
        error.message.includes("SQUALL_PORT: is not set.") &&
        error.message.includes('SQUALL_LAME_DUCK: "10" is no duration above zero.') &&
        error.message.includes("SQUALL_IS_ON"),
    );
  });
});
