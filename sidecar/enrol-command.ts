import { once } from "node:events";
import { writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { renewAt } from "../certs/renewal.ts";
import { systemClock } from "../common/clock.ts";
import { createLog } from "../common/log.ts";
import { DesiredFaults } from "../proto/gen/agent.ts";
import { ANSWER_FD, type EnrolAnswer, type EnrolOrder } from "./enroller.ts";
import { enrolUntilDone } from "../agent/enrolment.ts";

/** `sidecar.mjs enrol`: takes its order from the sidecar that started it, enrols for as long as it takes, and answers. Ends with that sidecar. */
export async function enrolForSidecar(): Promise<void> {
  const ending = new AbortController();
  const lines = createInterface({ input: process.stdin });
  lines.once("close", () => ending.abort());
  try {
    const [line] = (await once(lines, "line", ending)) as [string];
    writeSync(ANSWER_FD, JSON.stringify(await carryOut(JSON.parse(line) as EnrolOrder, ending.signal))); // made by sidecar/enroller.ts alone
  } catch (error) {
    if (!ending.signal.aborted) throw error;
  }
}

async function carryOut({ options, logLevel }: EnrolOrder, signal: AbortSignal): Promise<EnrolAnswer> {
  const log = createLog({ process: "sidecar", level: logLevel });
  const { validity, desired, ...enrolled } = await enrolUntilDone(options, { clock: systemClock, log, signal });
  const renewAtMs = renewAt(validity, Math.random()).getTime();
  return desired === undefined || desired.faults.length === 0
    ? { ...enrolled, renewAtMs }
    : { ...enrolled, renewAtMs, desired: encode(desired) };
}

const encode = (desired: DesiredFaults): string => Buffer.from(DesiredFaults.encode(desired).finish()).toString("base64");
