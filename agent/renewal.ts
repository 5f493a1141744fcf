import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import { watchForNewAuthority } from "./new-authority.ts";

/** What enrolment brought. */
export interface Renewable {
  /** PEM of the CAs whose controller is believed. */
  readonly caCertificates: string;
  /** When to enrol again, milliseconds since 1970. */
  readonly renewAtMs: number;
}

export interface RenewalOptions<T extends Renewable> {
  readonly first: T;
  /** Enrols for as long as it takes; rejects only when the process ends. */
  readonly enrol: () => Promise<T>;
  readonly onRenewed: (newest: T) => Promise<void>;
  /** Where the kubelet keeps the CA certificates, PEM. */
  readonly caPath: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Enrols again when the certificate's time has come, or when the CAs are other ones altogether. The returned function ends it. */
export function keepRenewed<T extends Renewable>({ first, enrol, onRenewed, caPath, clock, log }: RenewalOptions<T>): () => void {
  let newest = first;
  let cancel = (): void => undefined;
  let isStopped = false;
  const renewNow = (): void => {
    cancel();
    renew().catch((error: unknown) => log.debug({ err: error }, "renewal ended with the process"));
  };
  const arm = (): void => {
    cancel();
    cancel = clock.after(Math.max(newest.renewAtMs - clock.now().getTime(), 1_000), renewNow);
  };
  const renew = async (): Promise<void> => {
    newest = await enrol();
    if (isStopped) return;
    arm();
    await onRenewed(newest);
    log.info({}, "certificate renewed");
  };
  arm();
  const stopWatching = watchForNewAuthority({ caPath, trusted: () => newest.caCertificates, clock, onNew: renewNow });
  return () => {
    isStopped = true;
    stopWatching();
    cancel();
  };
}
