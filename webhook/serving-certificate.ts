import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import type { ServingCertificate } from "./server.ts";

/** The kubelet replaces the files of a Secret by switching a link, which fs.watch does not see; so they are read again and again. */
const POLL_MS = 2_000;
const SLOW_POLL_MS = 15_000;

/**
 * Reads `tls.crt` and `tls.key` of a folder; calls back with the first pair and with each new one, one at a time, and again with one that could
 * not be used. The folder may stay empty until the controller has written the Secret. The returned function ends it.
 */
export function watchCertificate(
  folder: string,
  {
    clock,
    log,
    onChange,
  }: {
    readonly clock: Clock;
    readonly log: Log;
    /** Rejects when the certificate cannot be used. */
    readonly onChange: (certificate: ServingCertificate) => Promise<void>;
  },
): () => void {
  let last: string | undefined;
  let cancel = (): void => undefined;
  let isClosed = false;
  const read = async (): Promise<{ readonly cert: string; readonly key: string } | undefined> => {
    try {
      const [cert, key] = await Promise.all([readFile(join(folder, "tls.crt"), "utf8"), readFile(join(folder, "tls.key"), "utf8")]);
      return { cert, key };
    } catch (error) {
      // Absent before the first leader.
      log.debug({ err: error, folder }, "no serving certificate yet");
      return undefined;
    }
  };
  const visit = async (): Promise<void> => {
    const found = await read();
    if (!isClosed && found !== undefined && found.cert + found.key !== last) {
      try {
        await onChange(found);
        last = found.cert + found.key;
      } catch (error) {
        // Perhaps the kubelet switched the link between the two reads, and the next visit finds a pair.
        log.error({ err: error, folder }, "the serving certificate cannot be used");
      }
    }
    if (!isClosed) cancel = clock.after(last === undefined ? POLL_MS : SLOW_POLL_MS, () => void visit());
  };
  void visit();
  return () => {
    isClosed = true;
    cancel();
  };
}
