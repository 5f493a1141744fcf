import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../common/clock.ts";
import type { VersionResponse } from "../../proto/gen/cri.ts";
import { RuntimeError } from "./container-runtime.ts";
import { CriClient } from "./cri-client.ts";

/** A runtime that has answered. */
export interface AnsweringRuntime {
  readonly client: CriClient;
  /** As in the ids of a pod's status: `containerd`, `cri-o`, `docker`. */
  readonly name: string;
  readonly version: string;
}

/**
 * Where runtimes listen, below the node's /run. A plain containerd comes last: it may also be there for Docker alone, beside the one that the
 * kubelet uses.
 */
const SOCKETS = [
  "k3s/containerd/containerd.sock", // RKE2's as well
  "k0s/containerd.sock",
  "crio/crio.sock",
  "cri-dockerd.sock",
  "containerd/containerd.sock",
] as const;

const VERSION_TIMEOUT_MS = 3_000;

/** Finds the runtime whose socket is below `hostRun`, where the node's /run is: the first that speaks CRI v1. Throws RuntimeError with what each said. */
export async function discoverRuntime(hostRun: string, clock: Clock): Promise<AnsweringRuntime> {
  const refusals: string[] = [];
  for (const path of SOCKETS) {
    const socket = join(hostRun, path);
    const whyNot = await findObstacle(socket);
    if (whyNot !== undefined) {
      refusals.push(`${socket} ${whyNot}`);
      continue;
    }
    const client = new CriClient(socket, clock);
    try {
      const { runtimeName, runtimeVersion, runtimeApiVersion } = await askVersion(client);
      if (runtimeApiVersion === "v1") return { client, name: runtimeName, version: runtimeVersion };
      refusals.push(`${socket} speaks CRI ${runtimeApiVersion}, not v1`);
    } catch (error) {
      refusals.push(error instanceof Error ? error.message : String(error));
    }
    client.close();
  }
  throw new RuntimeError(
    "unavailable",
    `No container runtime answers. The node's /run must be mounted at ${hostRun}. Tried: ${refusals.join("; ")}.`,
  );
}

/** Throws RuntimeError when there is no answer within 3 s. */
export function askVersion(client: CriClient): Promise<VersionResponse> {
  return client.call("Version", (cri, done) => cri.version({ version: "v1" }, done), { timeoutMs: VERSION_TIMEOUT_MS });
}

async function findObstacle(socket: string): Promise<string | undefined> {
  try {
    return (await stat(socket)).isSocket() ? undefined : "is no socket";
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "cannot be looked at";
    return code === "ENOENT" ? "is not there" : `is out of reach (${code})`;
  }
}
