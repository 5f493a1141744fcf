import { readPolicy } from "../api/policy/read.ts";
import type { Policy } from "../api/policy/violations.ts";
import { show } from "../api/text.ts";
import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import type { Kube, KubeObject, Resource } from "./kube.ts";
import { type ChaosPolicy, chaosPolicies, clusterHalts, type Halt, halts } from "./limit-resources.ts";
import { type AnyReflector, Reflector } from "./reflector.ts";

/** What limits experiments, watched: policies and halts. Reading it asks nobody; what it says may be a moment old. */
export class Limits {
  readonly #policies: Reflector<ChaosPolicy>;
  readonly #halts: Reflector<Halt>;
  readonly #clusterHalts: Reflector<Halt>;
  #read: readonly Policy[] | undefined;

  constructor({
    kube,
    clock,
    log,
    random,
  }: { readonly kube: Kube; readonly clock: Clock; readonly log: Log; readonly random?: (() => number) | undefined }) {
    const reflect = <T extends KubeObject>(resource: Resource<T>): Reflector<T> =>
      new Reflector({ kube, resource, clock, log, random, mustReadAll: true });
    this.#policies = reflect(chaosPolicies);
    this.#halts = reflect(halts);
    this.#clusterHalts = reflect(clusterHalts);
    this.#policies.onChange(() => {
      this.#read = undefined;
    });
  }

  /** For their owner to start and close. */
  get reflectors(): readonly AnyReflector[] {
    return [this.#policies, this.#halts, this.#clusterHalts];
  }

  /** Those that are enabled, by name. */
  get policies(): readonly Policy[] {
    this.#read ??= this.#policies
      .list()
      .flatMap((stored) => readPolicy(stored) ?? [])
      .toSorted((one, other) => (one.name < other.name ? -1 : 1));
    return this.#read;
  }

  /** Whether there is nothing that could limit anything. */
  get isIdle(): boolean {
    return this.policies.length === 0 && this.halts().length === 0;
  }

  /** All halts, those of the cluster first. */
  halts(): readonly Halt[] {
    return [...this.#clusterHalts.list(), ...this.#halts.list()];
  }

  /** A halt that forbids faults in one of these namespaces; undefined where none does. One that is being deleted still does. */
  haltOn(namespaces: readonly string[] | "all"): Halt | undefined {
    return this.halts().find(
      ({ metadata: { namespace } }) => namespace === undefined || namespaces === "all" || namespaces.includes(namespace),
    );
  }

  /** Calls back when what it limits may have changed; a status limits nothing. The returned function ends it. */
  onChange(handler: () => void): () => void {
    let known = this.#generations;
    const tell = (): void => {
      const now = this.#generations;
      if (now === known) return;
      known = now;
      handler();
    };
    const offs = [this.#policies.onChange(tell), this.onHaltChange(tell)];
    return () => {
      for (const off of offs) off();
    };
  }

  /** Calls back when a halt came, changed or went, or its status did. The returned function ends it. */
  onHaltChange(handler: () => void): () => void {
    const offs = [this.#halts.onChange(handler), this.#clusterHalts.onChange(handler)];
    return () => {
      for (const off of offs) off();
    };
  }

  /** Which objects there are, and which specs they have. */
  get #generations(): string {
    return [...this.#policies.list(), ...this.halts()].map(({ metadata: { uid, generation = 0 } }) => `${uid}/${generation}`).join(" ");
  }
}

/** "Halt shop/stop: upgrade", for people. */
export function describeHalt({ metadata: { namespace, name }, spec: { reason } }: Halt): string {
  const what = namespace === undefined ? `ClusterHalt ${name}` : `Halt ${namespace}/${name}`;
  return reason === undefined || reason === "" ? what : `${what} (${show(reason)})`;
}
