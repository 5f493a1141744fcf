import assert from "node:assert/strict";
import { placesOf } from "../../lab/places.ts";

describe("placesOf", () => {
  it("follows the XDG variables", () => {
    assert.deepEqual(placesOf({ HOME: "/home/a", XDG_CACHE_HOME: "/c", XDG_STATE_HOME: "/s" }), {
      cache: "/c/squall",
      state: "/s/squall/lab",
    });
  });

  it("falls back to the home folder where they are unset or empty", () => {
    const expected = { cache: "/home/a/.cache/squall", state: "/home/a/.local/state/squall/lab" };
    assert.deepEqual(placesOf({ HOME: "/home/a", XDG_CACHE_HOME: "" }), expected);
  });
});
