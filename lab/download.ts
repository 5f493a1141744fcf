import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { Agent, request } from "undici";
import type { Program } from "./programs.ts";

/** Where there is no internet, this is how long finding out takes. */
const CONNECT_TIMEOUT_MS = 3_000;
const SILENCE_TIMEOUT_MS = 15_000;

/** Fetches a program with the SHA-256 that is published beside it. False where it is not to be had here, whatever the reason. */
export async function downloadProgram(program: Program, file: string): Promise<boolean> {
  if (program.download === undefined) return false;
  const dispatcher = new Agent({
    connect: { timeout: CONNECT_TIMEOUT_MS },
    headersTimeout: SILENCE_TIMEOUT_MS,
    bodyTimeout: SILENCE_TIMEOUT_MS,
  });
  try {
    const wanted = (await fetchBytes(`${program.download}.sha256`, dispatcher)).toString().trim().slice(0, 64);
    const content = await fetchBytes(program.download, dispatcher);
    if (createHash("sha256").update(content).digest("hex") !== wanted) return false;
    await writeFile(file, content);
    return true;
  } catch {
    // No network, a proxy that refuses, a full disk: building from the Go module is the answer to all of them.
    return false;
  } finally {
    await dispatcher.close();
  }
}

async function fetchBytes(url: string, dispatcher: Agent): Promise<Buffer> {
  const { statusCode, body } = await request(url, { dispatcher });
  const bytes = Buffer.from(await body.arrayBuffer());
  if (statusCode !== 200) throw new Error(`${url} answered ${statusCode}.`);
  return bytes;
}
