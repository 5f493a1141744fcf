import { setTimeout as sleep } from "node:timers/promises";
import { Agent, request } from "undici";
import type { KeyPair } from "./pki.ts";

const POLL_MS = 100;

/** Calls `isReady` until it is; throws an Error that begins with `what` when `timeoutMs` is over or `whyNever` knows that it never will be. */
export async function waitUntil(
  what: string,
  isReady: () => Promise<boolean>,
  { timeoutMs, whyNever }: { readonly timeoutMs: number; readonly whyNever?: () => string | undefined },
): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await isReady())) {
    const why = whyNever?.() ?? (performance.now() > end ? `not within ${timeoutMs / 1000} s` : undefined);
    if (why !== undefined) throw new Error(`${what}: ${why}`);
    await sleep(POLL_MS);
  }
}

/** Asks an API server whether it is ready, as the holder of `client`. */
export function createReadinessProbe(url: string, ca: string, client: KeyPair): { isReady(): Promise<boolean>; close(): Promise<void> } {
  const dispatcher = new Agent({
    connect: { ca, cert: client.certificate, key: client.key, timeout: 1000 },
    headersTimeout: 2000,
    bodyTimeout: 2000,
  });
  return {
    async isReady() {
      try {
        const { statusCode, body } = await request(`${url}/readyz`, { dispatcher });
        await body.dump();
        return statusCode === 200;
      } catch {
        // Not listening yet, or not talking TLS yet: the caller asks again.
        return false;
      }
    },
    close: () => dispatcher.close(),
  };
}
