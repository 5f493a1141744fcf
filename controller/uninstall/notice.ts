import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import { SYSTEM_NAMESPACE } from "../../common/names.ts";
import type { Kube, KubeObject } from "../../kube/kube.ts";
import { type AnyReflector, Reflector } from "../../kube/reflector.ts";
import { clusterRoles, type Deployment, deployments, serviceAccounts } from "../../kube/resources.ts";

/** Name of the controller's Deployment, service account, roles and bindings. */
export const OWN_NAME = "squall-controller";

/** Squall is being uninstalled. */
export interface Leaving {
  /** Monotonic, reckoned from the time stamps when they were first seen: what has not recovered by then is left to its lease. */
  readonly byMs: number;
}

/**
 * The API server refuses tokens of a service account 60 s after its deletion began, finalizer or not (tried; the leeway of
 * k8s.io/kubernetes/pkg/serviceaccount/claims.go). Everything has to be done by then.
 */
const RECOVER_WITHIN_MS = 40_000;

/**
 * Notices that Squall is being uninstalled: its service account and its ClusterRole are both being deleted, which `kubectl delete -k` does one
 * right after the other, long before the Deployment. One of the two alone is somebody who replaces it. Once begun it does not end: there is
 * no way back from a deletion.
 */
export class UninstallNotice {
  readonly #account: Reflector<KubeObject>;
  readonly #role: Reflector<KubeObject>;
  readonly #deployment: Reflector<Deployment>;
  readonly #begun = new AbortController();
  readonly #clock: Clock;
  readonly #log: Log;
  #leaving: Leaving | undefined;

  constructor({
    kube,
    clock,
    log,
    random,
  }: { readonly kube: Kube; readonly clock: Clock; readonly log: Log; readonly random?: (() => number) | undefined }) {
    this.#clock = clock;
    this.#log = log;
    const scope = { fieldSelector: `metadata.name=${OWN_NAME}` };
    const inOwnNamespace = { ...scope, namespace: SYSTEM_NAMESPACE };
    this.#account = new Reflector({ kube, resource: serviceAccounts, scope: inOwnNamespace, clock, log, random });
    this.#role = new Reflector({ kube, resource: clusterRoles, scope, clock, log, random });
    this.#deployment = new Reflector({ kube, resource: deployments, scope: inOwnNamespace, clock, log, random });
    this.#account.onChange(() => this.#look());
    this.#role.onChange(() => this.#look());
  }

  /** For their owner to start and close. */
  get reflectors(): readonly AnyReflector[] {
    return [this.#account, this.#role, this.#deployment];
  }

  /** Calls back whenever account, ClusterRole or Deployment changed. The returned function ends it. */
  onChange(handler: () => void): () => void {
    const offs = [this.#account.onChange(handler), this.#role.onChange(handler), this.#deployment.onChange(handler)];
    return () => {
      for (const off of offs) off();
    };
  }

  /** Undefined unless Squall is being uninstalled. */
  get leaving(): Leaving | undefined {
    return this.#leaving;
  }

  /** Aborted once Squall is being uninstalled. */
  get begun(): AbortSignal {
    return this.#begun.signal;
  }

  #look(): void {
    const account = this.#account.get(`${SYSTEM_NAMESPACE}/${OWN_NAME}`)?.metadata.deletionTimestamp;
    const role = this.#role.get(OWN_NAME)?.metadata.deletionTimestamp;
    if (this.#leaving !== undefined || account === undefined || role === undefined) return;
    const forMs = Math.max(0, this.#clock.now().getTime() - Date.parse(account));
    this.#leaving = { byMs: this.#clock.monotonicMs() - forMs + RECOVER_WITHIN_MS };
    this.#log.info({ forSeconds: forMs / 1000 }, "Squall is being uninstalled");
    this.#begun.abort(new Error("Squall is being uninstalled."));
  }
}
