import { readFile } from "node:fs/promises";
import { credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { createAgentKey, proveKey } from "../certs/keys.ts";
import { checkServerDnsName } from "../certs/peer.ts";
import { type ValiditySpan, validityOf } from "../certs/renewal.ts";
import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import { services, SYSTEM_NAMESPACE } from "../common/names.ts";
import type { DesiredFaults, EnrolReply, Passport } from "../proto/gen/agent.ts";
import { EnrolmentClient } from "../proto/gen/services.ts";

/** A certificate and all that came with it. */
export interface Enrolled {
  /** PEM. */
  readonly privateKey: string;
  readonly certificate: string;
  readonly caCertificates: string;
  readonly validity: ValiditySpan;
  /** Faults that apply to this pod already. */
  readonly desired: DesiredFaults | undefined;
  /** Names of persistent volumes, by volume of the pod: of those that were asked for and that the controller knows. */
  readonly persistentVolumes: Readonly<Record<string, string>>;
}

export interface EnrolmentOptions {
  readonly address: string;
  readonly tokenPath: string;
  readonly caPath: string;
  readonly podIps: readonly string[];
  readonly version: string;
  /** What can be done here. */
  readonly passport: Passport;
  /** Volumes of the pod whose persistent volumes are to be told. */
  readonly volumes?: readonly string[] | undefined;
}

const CALL_TIMEOUT_MS = 5_000;
const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 15_000;

/** Enrols once: makes a key in memory, proves that it and the token are ours, gets a certificate. Throws with the reason, which never holds the token. */
export async function enrol({ address, tokenPath, caPath, podIps, version, passport, volumes = [] }: EnrolmentOptions): Promise<Enrolled> {
  // Both are read anew each time: the kubelet replaces them.
  const [token, ca] = await Promise.all([readFile(tokenPath, "utf8"), readFile(caPath)]);
  const key = await createAgentKey();
  const name = `${services.enrolment}.${SYSTEM_NAMESPACE}.svc`;
  const client = new EnrolmentClient(address, credentials.createSsl(ca, null, null, { checkServerIdentity: checkServerDnsName(name) }), {
    "grpc.enable_retries": 0,
  });
  try {
    const request = {
      token,
      publicKey: key.publicKey,
      proof: proveKey(key, token),
      agentVersion: version,
      addresses: [...podIps],
      passport,
      volumes: [...volumes],
    };
    const reply = await new Promise<EnrolReply>((resolve, reject) => {
      client.enrol(request, new Metadata(), { deadline: Date.now() + CALL_TIMEOUT_MS }, (error: ServiceError | null, found) =>
        error ? reject(error) : resolve(found),
      );
    });
    const { certificate, caCertificates, desired, persistentVolumes } = reply;
    return { privateKey: key.privateKey, certificate, caCertificates, validity: validityOf(certificate), desired, persistentVolumes };
  } finally {
    client.close();
  }
}

/** Enrols for as long as it takes, with jittered back-off; the CA may not be there yet, nobody may lead yet. Rejects only when aborted. */
export async function enrolUntilDone(
  options: EnrolmentOptions,
  {
    clock,
    log,
    signal,
    random = Math.random,
  }: { readonly clock: Clock; readonly log: Log; readonly signal: AbortSignal; readonly random?: () => number },
): Promise<Enrolled> {
  let lastReason = "";
  for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS)) {
    signal.throwIfAborted();
    try {
      return await enrol(options);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      // The same reason again is no change of state.
      if (reason !== lastReason) log.warn({ reason }, "enrolment failed and is tried again");
      lastReason = reason;
    }
    await new Promise<void>((resolve) => {
      const cancel = clock.after(waitMs * (0.5 + random() / 2), resolve);
      signal.addEventListener("abort", () => (cancel(), resolve()), { once: true });
    });
  }
}
