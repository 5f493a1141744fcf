import { Agent, request } from "undici";
import type { KeyPair } from "./pki.ts";

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
