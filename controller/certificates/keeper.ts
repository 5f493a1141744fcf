import { type Authority, type Credential, openAuthority } from "../../certs/authority.ts";
import { CONTROLLER_URI } from "../../certs/identity.ts";
import { renewAt, validityOf } from "../../certs/renewal.ts";
import { ROTATION_RULES, type RotationRules } from "../../certs/rotation.ts";
import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import { services } from "../../common/names.ts";
import { createBackOff } from "../../kube/back-off.ts";
import type { Kube } from "../../kube/kube.ts";
import type { ConfigMap, Namespace } from "../../kube/resources.ts";
import { wait } from "../../kube/wait.ts";
import { keepCaBundles } from "./ca-bundles.ts";
import { planConfigMaps, writeConfigMaps } from "./ca-config-maps.ts";
import { keepTrustStore } from "./ca-store.ts";
import { dnsNamesOfService, keepServingSecret } from "./serving-secret.ts";

/** The part of a Reflector that is needed here. */
export interface Watched<T> {
  list(): readonly T[];
  onChange(handler: (key: string) => void): () => void;
}

export interface CertificateKeeperOptions {
  readonly kube: Kube;
  readonly clock: Clock;
  readonly log: Log;
  readonly namespaces: Watched<Namespace>;
  /** ConfigMaps of name CA_CONFIGMAP only: scope `caConfigMapScope`. */
  readonly caConfigMaps: Watched<ConfigMap>;
  readonly rules?: RotationRules | undefined;
  readonly random?: (() => number) | undefined;
}

/** A credential and the CAs whose peers it is for, all PEM. */
export interface PeerCredentials extends Credential {
  readonly trusted: string;
}

interface Held {
  readonly authority: Authority;
  readonly trusted: string;
  readonly client: Credential;
  readonly enrolment: Credential;
}

/**
 * Keeps every certificate of the installation fresh, while this process leads: the CAs, the webhook's serving certificate,
 * the CAs in webhook configurations and opted-in namespaces, and the controller's own certificates. One visit at a time,
 * each from what is there now, so doing it twice changes nothing.
 */
export class CertificateKeeper {
  readonly #options: CertificateKeeperOptions;
  readonly #rules: RotationRules;
  readonly #handlers = new Set<() => void>();
  readonly #end = new AbortController();
  readonly #ready = Promise.withResolvers<void>();
  #held: Held | undefined;
  #wake = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: CertificateKeeperOptions) {
    this.#options = options;
    this.#rules = options.rules ?? ROTATION_RULES;
    this.#ready.promise.catch(() => undefined);
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async close(): Promise<void> {
    const reason = new Error("The keeper of certificates was closed.");
    this.#end.abort(reason);
    this.#wake.abort();
    this.#ready.reject(reason);
    await this.#running;
    this.#held = undefined;
  }

  /** Resolves once there is a CA and the controller has its own certificates; rejects when closed before that. */
  ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** What the controller shows to agents. Ask anew for each connection; open ones live on with the old certificate. Throws before `ready`. */
  currentCredentials(): PeerCredentials {
    const { client, trusted } = this.#mustHold();
    return { ...client, trusted };
  }

  /** What the enrolment server shows. Throws before `ready`. */
  enrolmentCredential(): Credential {
    return this.#mustHold().enrolment;
  }

  /** Signs the key of an agent that proved to be who this URI names. Throws before `ready`. */
  issueAgent(uri: string, publicKey: Buffer): { readonly certificate: string; readonly trusted: string } {
    const { authority, trusted } = this.#mustHold();
    const validity = { now: this.#options.clock.now(), lifetimeMs: this.#rules.leafLifetimeMs };
    return { certificate: authority.issueAgent(uri, publicKey, validity), trusted };
  }

  /** Calls back whenever one of the controller's own certificates or the trusted CAs changed. The returned function takes the handler off. */
  onRenewal(handler: () => void): () => void {
    this.#handlers.add(handler);
    return () => this.#handlers.delete(handler);
  }

  #mustHold(): Held {
    if (this.#held === undefined) throw new Error("There is no CA yet.");
    return this.#held;
  }

  async #run(): Promise<void> {
    const { clock, log, namespaces, caConfigMaps, random = Math.random } = this.#options;
    const { signal } = this.#end;
    const backOff = createBackOff({ firstMs: 500, longestMs: this.#rules.visitEveryMs, random });
    const wake = (): void => this.#wake.abort();
    const offs = [namespaces.onChange(wake), caConfigMaps.onChange(wake)];
    try {
      while (!signal.aborted) {
        // Made before the visit: a change that comes in the middle of it asks for another one.
        this.#wake = new AbortController();
        try {
          await this.#visit(signal);
          backOff.reset();
          await wait(clock, this.#rules.visitEveryMs, AbortSignal.any([this.#wake.signal, signal]));
        } catch (error) {
          if (signal.aborted) break;
          log.warn({ err: error }, "keeping certificates failed");
          // Not woken early: what changes meanwhile does not mend the cause.
          await wait(clock, backOff.nextMs(), signal);
        }
      }
    } finally {
      for (const off of offs) off();
    }
  }

  async #visit(signal: AbortSignal): Promise<void> {
    const { kube, clock, log, namespaces, caConfigMaps } = this.#options;
    const now = clock.now();
    const store = await keepTrustStore(kube, now, this.#rules, signal);
    if (store.change !== "none") log.info({ change: store.change }, "certificate authorities changed");
    const held = await this.#hold(openAuthority(store.signer), store.trusted, now);
    const duties = [
      async () => {
        const changed = await keepCaBundles(kube, store.trusted, signal);
        if (changed.length > 0) log.info({ changed }, "CA bundles written");
      },
      async () => {
        const isNew = await keepServingSecret(
          kube,
          { authority: held.authority, trusted: store.trusted, now, lifetimeMs: this.#rules.leafLifetimeMs },
          signal,
        );
        if (isNew) log.info({}, "webhook certificate renewed");
      },
      async () => {
        const plan = planConfigMaps(namespaces.list(), caConfigMaps.list(), store.trusted);
        await writeConfigMaps(kube, plan, store.trusted, signal);
        if (plan.write.length + plan.remove.length > 0) log.info({ ...plan }, "CA ConfigMaps changed");
      },
    ];
    // One that fails does not keep the others from being done.
    const results = await Promise.allSettled(duties.map((duty) => duty()));
    const errors = results.flatMap((result) => (result.status === "rejected" ? [result.reason as unknown] : []));
    if (errors.length === 1) throw errors[0];
    if (errors.length > 1) throw new AggregateError(errors, "Several duties of certificate keeping failed.");
  }

  /** Renews the controller's own certificates where they are due or of a CA that no longer signs. */
  async #hold(authority: Authority, trusted: string, now: Date): Promise<Held> {
    const old = this.#held;
    const isSameSigner = old?.authority.certificate === authority.certificate;
    const isFresh = (credential: Credential): boolean =>
      isSameSigner && now.getTime() < renewAt(validityOf(credential.certificate)).getTime();
    const validity = { now, lifetimeMs: this.#rules.leafLifetimeMs };
    const held: Held = {
      authority,
      trusted,
      client: old !== undefined && isFresh(old.client) ? old.client : await authority.issueClient(CONTROLLER_URI, validity),
      enrolment:
        old !== undefined && isFresh(old.enrolment)
          ? old.enrolment
          : await authority.issueServer(dnsNamesOfService(services.enrolment), validity),
    };
    this.#held = held;
    const isChanged = old?.client !== held.client || old.enrolment !== held.enrolment || old.trusted !== trusted;
    if (isChanged) {
      this.#options.log.info({ until: validityOf(held.client.certificate).notAfter }, "own certificates renewed");
      for (const handler of this.#handlers) handler();
    }
    this.#ready.resolve();
    return held;
  }
}
