import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Log, silentLog } from "../../common/log.ts";
import { watchCertificate } from "../../webhook/serving-certificate.ts";
import { FakeClock, settle } from "../support/fake-clock.ts";

describe("watchCertificate", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "squall-tls-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const put = async (cert: string, key: string): Promise<void> => {
    await writeFile(join(folder, "tls.crt"), cert);
    await writeFile(join(folder, "tls.key"), key);
  };

  /** Those that it was called back with; a pair whose parts differ cannot be used. */
  function watch() {
    const clock = new FakeClock();
    const tried: string[] = [];
    const errors: string[] = [];
    const log: Log = { ...silentLog, error: (_fields, message) => void errors.push(message) };
    const stop = watchCertificate(folder, {
      clock,
      log,
      onChange: ({ cert, key }) => {
        tried.push(`${cert.toString()} ${key.toString()}`);
        return cert === key ? Promise.resolve() : Promise.reject(new Error("key values mismatch"));
      },
    });
    const visited = async (): Promise<void> => {
      while (clock.waiting === 0) await settle();
    };
    const visitAfter = async (ms: number): Promise<void> => {
      await visited();
      await clock.advance(ms);
      await visited();
    };
    return { tried, errors, visitAfter, stop };
  }

  it("calls back once with each new pair, as soon as there is one", async () => {
    const { tried, errors, visitAfter, stop } = watch();
    await visitAfter(2_000);
    assert.deepEqual(tried, []);
    await put("one", "one");
    await visitAfter(2_000);
    await visitAfter(15_000);
    await put("two", "two");
    await visitAfter(15_000);
    stop();
    assert.deepEqual(tried, ["one one", "two two"]);
    assert.deepEqual(errors, []);
  });

  it("tries one that cannot be used again and says so, until there is one that can", async () => {
    await put("one", "two");
    const { tried, errors, visitAfter, stop } = watch();
    await visitAfter(2_000);
    await put("two", "two");
    await visitAfter(2_000);
    await visitAfter(15_000);
    stop();
    assert.deepEqual(tried, ["one two", "one two", "two two"]);
    const message = "the serving certificate cannot be used";
    assert.deepEqual(errors, [message, message]);
  });
});
