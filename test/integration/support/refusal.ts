import assert from "node:assert/strict";
import { isKubeError, type KubeError } from "../../../kube/errors.ts";

/** What the API server said against it; fails where it was admitted. */
export async function refusal(attempt: Promise<unknown>): Promise<KubeError> {
  const error = await attempt.then(
    () => assert.fail("it was admitted"),
    (caught: unknown) => caught,
  );
  assert.ok(isKubeError(error), String(error));
  return error;
}
