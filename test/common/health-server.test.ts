import assert from "node:assert/strict";
import { serveHealth } from "../../common/health-server.ts";

describe("serveHealth", () => {
  it("tells whether the process is alive and ready, and why not", async () => {
    let whyNotReady: string | undefined = "there is no certificate yet";
    let whyNotAlive: string | undefined;
    const registry = { contentType: "text/plain", metrics: () => Promise.resolve("squall_up 1\n") };
    const health = await serveHealth({ port: 0, registry, whyNotReady: () => whyNotReady, whyNotAlive: () => whyNotAlive });
    const ask = async (path: string): Promise<string> => {
      const response = await fetch(`http://127.0.0.1:${health.port}${path}`);
      return `${response.status} ${(await response.text()).trim()}`;
    };
    assert.deepEqual([await ask("/healthz"), await ask("/readyz")], ["200 ok", "503 there is no certificate yet"]);
    [whyNotReady, whyNotAlive] = [undefined, "nobody answers"];
    assert.deepEqual([await ask("/healthz"), await ask("/readyz")], ["503 nobody answers", "200 ok"]);
    assert.equal(await ask("/metrics"), "200 squall_up 1");
    assert.match(await ask("/"), /^404 There are/);
    await health.close();
  });
});
