import { Resolver } from "node:dns/promises";
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";
import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import type { ResolvedNames } from "./parse.ts";

/** Keeps the addresses of host names up to date. */
export interface HostNames {
  /** Resolves these and no others from now on; settles once each was tried, within two seconds. */
  follow(names: readonly string[]): Promise<void>;
  readonly resolved: ResolvedNames;
  /** Takes note of addresses that the pod itself was given for a name. */
  learn(name: string, addresses: readonly string[], ttlSeconds: number): void;
  onChange(callback: () => void): void;
  close(): void;
}

/** Asks for the addresses of a name; rejects when there are none. */
export type Lookup = (name: string) => Promise<{ readonly addresses: readonly string[]; readonly ttlSeconds: number }>;

const SHORTEST_MS = 5_000;
const LONGEST_MS = 300_000;
const RETRY_MS = 2_000;
const PATIENCE_MS = 2_000;

interface Known {
  /** When each address is to be forgotten, monotonic milliseconds. */
  readonly addresses: Map<string, number>;
  cancel: () => void;
}

/**
 * Each name is asked for again when its time to live is over, at the earliest after five seconds. An address stays for one time to live more
 * after it was last seen: connections to it go on. A name that fails keeps what it had.
 */
export function followHostNames({ clock, log, lookup }: { readonly clock: Clock; readonly log: Log; readonly lookup: Lookup }): HostNames {
  const names = new Map<string, Known>();
  let onChange = (): void => undefined;

  function note(name: string, found: readonly string[], ttlSeconds: number): boolean {
    const known = names.get(name);
    if (known === undefined) return false;
    const nowMs = clock.monotonicMs();
    const before = [...known.addresses.keys()].toSorted().join();
    const keepMs = 2 * Math.min(LONGEST_MS, Math.max(SHORTEST_MS, ttlSeconds * 1000));
    for (const address of found.map(spell)) known.addresses.set(address, Math.max(known.addresses.get(address) ?? 0, nowMs + keepMs));
    if (found.length > 0) for (const [address, untilMs] of known.addresses) if (untilMs <= nowMs) known.addresses.delete(address);
    return [...known.addresses.keys()].toSorted().join() !== before;
  }

  async function ask(name: string): Promise<void> {
    let waitMs = RETRY_MS;
    let hasChanged = false;
    try {
      const { addresses, ttlSeconds } = await lookup(name);
      hasChanged = note(name, addresses, ttlSeconds);
      waitMs = Math.min(LONGEST_MS, Math.max(SHORTEST_MS, ttlSeconds * 1000));
    } catch (error) {
      log.debug({ name, err: error }, "a host name could not be resolved");
    }
    const known = names.get(name);
    if (known === undefined) return;
    known.cancel();
    known.cancel = clock.after(waitMs, () => void ask(name));
    if (hasChanged) {
      log.info({ name, addresses: [...known.addresses.keys()] }, "addresses of a host name changed");
      onChange();
    }
  }

  return {
    async follow(wanted) {
      const kept = new Set(wanted.map((name) => name.toLowerCase()));
      for (const [name, known] of names) {
        if (kept.has(name)) continue;
        known.cancel();
        names.delete(name);
      }
      const fresh = [...kept].filter((name) => !names.has(name));
      if (fresh.length === 0) return;
      for (const name of fresh) names.set(name, { addresses: new Map(), cancel: () => undefined });
      const patience = Promise.withResolvers<void>();
      const cancel = clock.after(PATIENCE_MS, () => patience.resolve());
      await Promise.race([Promise.all(fresh.map(ask)), patience.promise]);
      cancel();
    },
    get resolved() {
      return new Map(
        [...names]
          .filter(([, { addresses }]) => addresses.size > 0)
          .map(([name, { addresses }]) => [name, [...addresses.keys()].toSorted()]),
      );
    },
    learn(name, addresses, ttlSeconds) {
      if (note(name.toLowerCase(), addresses, ttlSeconds)) onChange();
    },
    onChange(callback) {
      onChange = callback;
    },
    close() {
      for (const { cancel } of names.values()) cancel();
      names.clear();
    },
  };
}

/** The same address always in the same way: resolvers and packets of DNS spell those of IPv6 differently. */
const spell = (address: string): string => ipaddr.parse(address).toString();

/** Asks for both families as a pod does: by the name servers, the search list and ndots of this text of a resolv.conf(5). */
export function createLookup(resolvConf: string): Lookup {
  const searchList = /^search\s+(.*)$/m.exec(resolvConf)?.[1]?.trim().split(/\s+/) ?? [];
  const ndots = Number(/\bndots:(\d+)/.exec(resolvConf)?.[1] ?? 1);
  const resolver = new Resolver({ timeout: 1_000, tries: 2 });
  const servers = [...resolvConf.matchAll(/^nameserver\s+(\S+)/gm)]
    .map(([, address = ""]) => address)
    .filter((address) => isIP(address) !== 0);
  // The file need not be this process's own; without any, that one counts.
  if (servers.length > 0) resolver.setServers(servers);
  const query = async (name: string): Promise<{ readonly addresses: readonly string[]; readonly ttlSeconds: number }> => {
    const answers = await Promise.allSettled([resolver.resolve4(name, { ttl: true }), resolver.resolve6(name, { ttl: true })]);
    const found = answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []));
    if (found.length > 0) return { addresses: found.map(({ address }) => address), ttlSeconds: Math.min(...found.map(({ ttl }) => ttl)) };
    const failure = answers.find((answer) => answer.status === "rejected");
    throw failure?.reason instanceof Error ? failure.reason : new Error(`${name} has no address.`);
  };
  return async (name) => {
    const candidates = searchList.map((suffix) => `${name}.${suffix}`);
    const dots = name.split(".").length - 1;
    let last: unknown;
    for (const candidate of dots >= ndots ? [name, ...candidates] : [...candidates, name]) {
      try {
        return await query(candidate);
      } catch (error) {
        last = error;
      }
    }
    throw last;
  };
}
