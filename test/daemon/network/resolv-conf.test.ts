import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { readResolvConf } from "../../../daemon/network/resolv-conf.ts";

describe("the resolver of a container", () => {
  it("is what its /etc/resolv.conf says", async () => {
    const own = await readFile("/etc/resolv.conf", "utf8").catch(() => "");
    assert.equal(await readResolvConf(process.pid), own);
  });

  it("is unknown of a process that is no more", async () => assert.equal(await readResolvConf(2 ** 22 + 1), ""));
});
