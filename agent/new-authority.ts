import { readFile } from "node:fs/promises";
import type { Clock } from "../common/clock.ts";

/** The kubelet takes about a minute to replace the file anyway. */
const EVERY_MS = 30_000;

export interface NewAuthorityOptions {
  /** Where the kubelet keeps the CA certificates, PEM. */
  readonly caPath: string;
  /** PEM of the CAs whose controller is believed now. */
  readonly trusted: () => string;
  readonly clock: Clock;
  /** Called at most once for each new set of CAs. */
  readonly onNew: () => void;
}

/**
 * Notices that the CAs have nothing in common with those that are trusted: Squall was uninstalled and installed again, and no controller can
 * talk to this sidecar until it enrols anew. An ordinary rotation always has one in common. The returned function ends the watch.
 */
export function watchForNewAuthority({ caPath, trusted, clock, onNew }: NewAuthorityOptions): () => void {
  let cancel = (): void => undefined;
  let isClosed = false;
  let last: string | undefined;
  const look = async (): Promise<void> => {
    // Absent while Squall is not installed.
    const found = certificatesOf(await readFile(caPath, "utf8").catch(() => ""));
    const known = certificatesOf(trusted());
    const isNew = found.length > 0 && found.every((certificate) => !known.includes(certificate));
    if (isClosed) return;
    if (isNew && found.join("") !== last) {
      last = found.join("");
      onNew();
    }
    arm();
  };
  const arm = (): void => {
    cancel = clock.after(EVERY_MS, () => void look());
  };
  arm();
  return () => {
    isClosed = true;
    cancel();
  };
}

const certificatesOf = (pem: string): readonly string[] => pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
