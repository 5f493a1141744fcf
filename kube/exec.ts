import { Writable } from "node:stream";
import { Exec, KubeConfig, type V1Status } from "@kubernetes/client-node";
import type { CredentialOptions } from "./credentials.ts";
import { errorOfUpgrade } from "./errors.ts";

export interface ExecTarget {
  readonly namespace: string;
  readonly pod: string;
  readonly container: string;
}

/** Namespace of the context that is used; "default" where it names none. */
export function contextNamespace(options: CredentialOptions): string {
  const config = loadConfig(options);
  return config.getContextObject(config.getCurrentContext())?.namespace ?? "default";
}

/**
 * Runs a program in a container with the right of the credentials to `create pods/exec`, and returns its standard output. Throws a KubeError
 * where the API server refuses ("invalid": the pod has no such container), an Error with what the kubelet or the program said; 20 s at most.
 */
export async function execInPod(
  options: CredentialOptions,
  { namespace, pod, container }: ExecTarget,
  argv: readonly string[],
): Promise<string> {
  const stdout = collect();
  const stderr = collect();
  const { promise: ended, resolve, reject } = Promise.withResolvers<V1Status>();
  const timer = setTimeout(() => reject(new Error(`${namespace}/${pod} did not answer within 20 s.`)), 20_000);
  try {
    const exec = new Exec(loadConfig(options));
    const socket = await exec.exec(namespace, pod, container, [...argv], stdout.stream, stderr.stream, null, false, resolve);
    socket.on("error", reject);
    const status = await ended;
    socket.close();
    if (status.status !== "Success") throw new Error(stderr.text().trim() || (status.message ?? "The program failed."));
    return stdout.text();
  } catch (error) {
    throw error instanceof Error ? error : errorOfUpgrade(`exec in ${namespace}/${pod}`, textOf(error));
  } finally {
    clearTimeout(timer);
  }
}

/** The client hands on events of its web socket, which carry the reason somewhere. */
function textOf(error: unknown): string {
  return typeof error === "object" && error !== null && "message" in error
    ? String(error.message)
    : "The API server refused the connection.";
}

function loadConfig({ kubeconfig, context }: CredentialOptions): KubeConfig {
  const config = new KubeConfig();
  if (kubeconfig === undefined) config.loadFromDefault();
  else config.loadFromFile(kubeconfig);
  if (context !== undefined) config.setCurrentContext(context);
  return config;
}

function collect(): { readonly stream: Writable; text(): string } {
  const chunks: Buffer[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _encoding, callback) {
      chunks.push(chunk);
      callback();
    },
  });
  return { stream, text: () => Buffer.concat(chunks).toString() };
}
