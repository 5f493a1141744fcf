import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { watchForNewAuthority } from "../../agent/new-authority.ts";
import { FakeClock } from "../support/fake-clock.ts";

const pem = (text: string): string => `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`;

describe("a sidecar whose CAs are replaced", () => {
  let folder: string;
  let clock: FakeClock;
  let found: number;
  let trusted: string;
  let close: () => void;
  const write = (text: string): Promise<void> => writeFile(join(folder, "ca.crt"), text);

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "squall-ca-"));
    clock = new FakeClock();
    found = 0;
    trusted = pem("old");
    await write(pem("old"));
    close = watchForNewAuthority({ caPath: join(folder, "ca.crt"), trusted: () => trusted, clock, onNew: () => void (found += 1) });
  });
  afterEach(async () => {
    close();
    await rm(folder, { recursive: true });
  });

  /** The file is read for real: between two looks the watch holds a timer. */
  async function lookOnce(): Promise<void> {
    await clock.advance(30_000);
    while (clock.waiting === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }

  it("enrols anew when none of them is one that it trusts, once", async () => {
    await write(pem("new"));
    await lookOnce();
    await lookOnce();
    assert.equal(found, 1);
    trusted = pem("new");
    await write(pem("newest"));
    await lookOnce();
    assert.equal(found, 2);
  });

  it("leaves a rotation to the renewal of its certificate", async () => {
    await write(pem("old") + pem("new"));
    await lookOnce();
    assert.equal(found, 0);
  });

  it("waits while there are none", async () => {
    await write("");
    await lookOnce();
    await rm(join(folder, "ca.crt"));
    await lookOnce();
    assert.equal(found, 0);
  });
});
