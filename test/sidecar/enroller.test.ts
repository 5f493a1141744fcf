import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLog } from "../../common/log.ts";
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
const answer = { privateKey: "key", certificate: "leaf", caCertificates: "cas", renewAtMs: 7 };

/** A process that notes its order and answers; the first one that is started there breaks instead. */
const program = (folder: string): string => `
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

describe("the process that enrols", () => {
  let folder: string;
  let clock: FakeClock;
  let end: AbortController;
  let enroller: Enroller;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "squall-enroller-"));
    await writeFile(join(folder, "main.mjs"), program(folder));
    clock = new FakeClock();
    end = new AbortController();
    enroller = startEnroller({ main: join(folder, "main.mjs"), logLevel: "info", clock, log: silentLog, signal: end.signal });
  });
  afterEach(async () => {
    end.abort(new Error("over"));
    await rm(folder, { recursive: true });
  });

  /** Waits really for the process, and not at all between attempts. */
  async function enrol() {
    const turning = setInterval(() => void clock.advance(1_000), 1);
    try {
      return await enroller.enrol(options);
    } finally {
      clearInterval(turning);
    }
  }

  it("is told what to do, is started again when it breaks, and is another one each time", async () => {
    assert.deepEqual(await enrol(), answer);
    assert.deepEqual(await enrol(), answer);
    const orders = (await readFile(join(folder, "orders"), "utf8")).trimEnd().split("\n");
    assert.deepEqual(
      orders.map((line) => [line.slice(0, 5), JSON.parse(line.slice(6))]),
      Array(3).fill(["enrol", { options, logLevel: "info" }]),
    );
  });

  it("ends with the sidecar", async () => {
    const enrolling = enroller.enrol(options);
    end.abort(new Error("The pod ends."));
    await assert.rejects(enrolling, /The pod ends/);
  });
});
