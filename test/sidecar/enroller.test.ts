import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { pino } from "pino";
import { type Log, silentLog } from "../../common/log.ts";
import { type Enroller, startEnroller } from "../../sidecar/enroller.ts";
import { emptyPassport } from "../support/fake-family.ts";
import { FakeClock } from "../support/fake-clock.ts";

const options = {
  address: "enrolment:9444",
  tokenPath: "/token",
  caPath: "/ca",
  podIps: ["10.244.0.7"],
  version: "0.1.0",
  passport: emptyPassport,
};
const answer = { privateKey: "key", certificate: "leaf", caCertificates: "cas", renewAtMs: 7, persistentVolumes: { data: "pv-1" } };

/** A process that notes its order and answers; the first one that is started there breaks instead. */
const answersAfterBreaking = (folder: string): string => `
import { appendFileSync, existsSync, writeSync } from "node:fs";
process.stdin.on("data", (line) => {
  const isFirst = !existsSync(${JSON.stringify(join(folder, "orders"))});
  appendFileSync(${JSON.stringify(join(folder, "orders"))}, process.argv[2] + " " + line);
  if (isFirst) process.exit(3);
  writeSync(3, ${JSON.stringify(JSON.stringify(answer))});
  process.exit(0);
});
process.stdin.on("end", () => process.exit(0));
`;

/** A process that breaks as it starts, and afterwards answers. */
const breaksAtFirst = (folder: string, how = "process.exit(1);"): string => `
import { existsSync, writeFileSync, writeSync } from "node:fs";
const broke = ${JSON.stringify(join(folder, "broke"))};
if (!existsSync(broke)) {
  writeFileSync(broke, "");
  ${how}
}
process.stdin.on("data", () => {
  writeSync(3, ${JSON.stringify(JSON.stringify(answer))});
  process.exit(0);
});
`;

describe("the process that enrols", () => {
  let folder: string;
  let clock: FakeClock;
  let end: AbortController;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "squall-enroller-"));
    clock = new FakeClock();
    end = new AbortController();
  });
  afterEach(async () => {
    end.abort(new Error("over"));
    await rm(folder, { recursive: true });
  });

  async function start(source: string, log: Log = silentLog): Promise<Enroller> {
    const main = join(folder, "main.mjs");
    await writeFile(main, source);
    return startEnroller({ main, logLevel: "info", clock, log, signal: end.signal });
  }

  /** Waits really for the process, and not at all between attempts. */
  async function enrol(enroller: Enroller) {
    const turning = setInterval(() => void clock.advance(1_000), 1);
    try {
      return await enroller.enrol(options);
    } finally {
      clearInterval(turning);
    }
  }

  it("is told what to do, is started again when it breaks, and is another one each time", async () => {
    const enroller = await start(answersAfterBreaking(folder));
    assert.deepEqual(await enrol(enroller), answer);
    assert.deepEqual(await enrol(enroller), answer);
    const orders = (await readFile(join(folder, "orders"), "utf8")).trimEnd().split("\n");
    assert.deepEqual(
      orders.map((line) => [line.slice(0, 5), JSON.parse(line.slice(6))]),
      Array(3).fill(["enrol", { options, logLevel: "info" }]),
    );
  });

  it("is started again when it broke before it was told anything", async () => {
    const enroller = await start(breaksAtFirst(folder));
    while (!existsSync(join(folder, "broke"))) await setTimeout(10);
    await setTimeout(200); // for its end to be seen
    assert.deepEqual(await enrol(enroller), answer);
  });

  it("is started again when its answer is none, and the answer is not logged", async () => {
    const logged: string[] = [];
    const log = pino({}, { write: (line) => void logged.push(line) });
    const enroller = await start(breaksAtFirst(folder, 'writeSync(3, "{secret"); process.exit(0);'), log);
    assert.deepEqual(await enrol(enroller), answer);
    assert.match(logged.join(""), /Its answer of 7 characters is none/);
    assert.doesNotMatch(logged.join(""), /secret/);
  });

  it("ends with the sidecar", async () => {
    const enroller = await start(answersAfterBreaking(folder));
    const enrolling = enroller.enrol(options);
    end.abort(new Error("The pod ends."));
    await assert.rejects(enrolling, /The pod ends/);
  });
});
