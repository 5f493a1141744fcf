import assert from "node:assert/strict";
import { isImage } from "../../../controller/pod-failure/is-image.ts";

const DIGEST = `sha256:${"ab".repeat(32)}`;

describe("an image that runs", () => {
  for (const [image, reference] of [
    ["docker.io/library/squall:1", "squall:1"],
    ["docker.io/library/squall:latest", "squall"],
    ["docker.io/tools/squall:1", "tools/squall:1"],
    ["registry.example:5000/squall:latest", "registry.example:5000/squall"],
    ["localhost/squall:1", "localhost/squall:1"],
    [`registry.example/squall@${DIGEST}`, `registry.example/squall@${DIGEST}`],
  ] as const)
    it(`${image} is ${reference}`, () => assert.equal(isImage({ image }, reference), true));

  for (const [image, reference] of [
    ["docker.io/library/squall:1", "squall:2"],
    ["docker.io/library/squall:1", "tools/squall:1"],
    ["registry.example/squall:1", "squall:1"],
    ["", "squall:1"],
  ] as const)
    it(`${image || "one without a name"} is not ${reference}`, () => assert.equal(isImage({ image }, reference), false));

  it("is known by its digest, whatever its tag", () => {
    const running = { image: "docker.io/tools/squall:1", imageID: `docker.io/tools/squall@${DIGEST}` };
    assert.equal(isImage(running, `tools/squall:1@${DIGEST}`), true);
    assert.equal(isImage(running, `tools/squall@sha256:${"cd".repeat(32)}`), false);
  });
});
