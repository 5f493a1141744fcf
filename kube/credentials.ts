import { createHash } from "node:crypto";
import type { RequestOptions } from "node:https";
import { KubeConfig } from "@kubernetes/client-node";
import type { Clock } from "../common/clock.ts";

/** Where the credentials come from. Neither: from `KUBECONFIG`, the person's own file, or the service account of the pod. */
export interface CredentialOptions {
  /** Path of a kubeconfig file. */
  readonly kubeconfig?: string | undefined;
  /** Context in it; its current one by default. */
  readonly context?: string | undefined;
}

/** What a request needs to reach the API server as somebody. */
export interface Credentials {
  /** URL, maybe with a path. */
  readonly server: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Options of `tls.connect`. */
  readonly tls: Readonly<Record<string, unknown>>;
  /** The same for the same server and TLS options: connections may be shared. */
  readonly identity: string;
}

/** How long credentials are used before token and certificate files are read again. The kubelet rewrites a token at 80 % of its hour. */
const MAX_AGE_MS = 10_000;

const TLS_OPTIONS = ["ca", "cert", "key", "pfx", "passphrase", "rejectUnauthorized", "servername"] as const;

/** Reads credentials through the Kubernetes client, which knows every way to hold them. */
export class CredentialSource {
  readonly #options: CredentialOptions;
  readonly #clock: Clock;
  #config: KubeConfig | undefined;
  #last: { readonly credentials: Credentials; readonly readMs: number } | undefined;

  constructor(options: CredentialOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
  }

  async read(): Promise<Credentials> {
    if (this.#last !== undefined && this.#clock.monotonicMs() - this.#last.readMs < MAX_AGE_MS) return this.#last.credentials;
    this.#config ??= loadConfig(this.#options);
    const credentials = await credentialsOf(this.#config);
    this.#last = { credentials, readMs: this.#clock.monotonicMs() };
    return credentials;
  }

  /** The server refused the credentials: the next read starts from the files. */
  forget(): void {
    this.#config = undefined;
    this.#last = undefined;
  }
}

function loadConfig({ kubeconfig, context }: CredentialOptions): KubeConfig {
  const config = new KubeConfig();
  if (kubeconfig === undefined) config.loadFromDefault();
  else config.loadFromFile(kubeconfig);
  if (context !== undefined) {
    const known = config.getContexts().map(({ name }) => name);
    if (!known.includes(context))
      throw new Error(`The kubeconfig has no context ${JSON.stringify(context)}. It has: ${known.join(", ") || "none"}.`);
    config.setCurrentContext(context);
  }
  return config;
}

async function credentialsOf(config: KubeConfig): Promise<Credentials> {
  const cluster = config.getCurrentCluster();
  if (!cluster) throw new Error("The kubeconfig has no current context with a cluster. Name one with `kubectl config use-context`.");
  if (cluster.proxyUrl !== undefined)
    throw new Error(`Cluster ${cluster.name} is reached through a proxy (proxy-url), which Squall does not support.`);
  const options: RequestOptions = {};
  await config.applyToHTTPSOptions(options);
  const headers = Object.fromEntries(
    Object.entries(options.headers ?? {}).flatMap(([name, value]) =>
      typeof value === "string" ? [[name.toLowerCase(), value.trim()]] : [],
    ),
  );
  if (typeof options.auth === "string") headers["authorization"] = `Basic ${Buffer.from(options.auth).toString("base64")}`;
  const tls = Object.fromEntries(
    TLS_OPTIONS.flatMap((key) => (options[key] === undefined || options[key] === null ? [] : [[key, options[key]]])),
  );
  const hash = createHash("sha256").update(cluster.server);
  for (const [key, value] of Object.entries(tls))
    hash.update(`\0${key}\0`).update(Buffer.isBuffer(value) ? value : (JSON.stringify(value) ?? ""));
  return { server: cluster.server, headers, tls, identity: hash.digest("hex") };
}
