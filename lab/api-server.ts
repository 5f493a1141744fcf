import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { apiServerArguments, type ControlPlane, etcdArguments, writeControlPlaneFiles } from "./control-plane.ts";
import { type DaemonProcess, startDaemon } from "./daemon-process.ts";
import { findFreePorts } from "./free-ports.ts";
import { renderKubeconfig } from "./kubeconfig.ts";
import { clusterAddresses } from "./node/addresses.ts";
import { isAlive } from "./process-table.ts";
import { createReadinessProbe } from "./readiness.ts";
import { waitUntil } from "./wait-until.ts";

/** A real API server without a node: objects, admission, RBAC and tokens work, nothing ever runs a pod. */
export interface ApiServer {
  readonly url: string;
  /** Path of a kubeconfig with all rights. */
  readonly kubeconfig: string;
  /** Path of the audit log: one JSON object a line, see control-plane.ts. */
  readonly auditLog: string;
  /** PEM; with its key, to sign client certificates of other users. */
  readonly ca: { readonly certificate: string; readonly key: string };
  readonly pids: readonly number[];
  /** Kills both processes and removes everything. May be called twice. */
  close(): Promise<void>;
}

const PREFIX = "squall-api-";
const READY_TIMEOUT_MS = 60_000;
const ATTEMPTS = 3;

/**
 * Starts etcd and kube-apiserver on free ports of 127.0.0.1; ready in about 5 s. Both die with this process.
 * As no controllers run, namespaces get no default service account (pods are admitted without one) and a namespace that is deleted stays
 * in phase Terminating: give each test a name of its own.
 */
export async function startApiServer(binaries: Readonly<Record<"etcd" | "kube-apiserver", string>>): Promise<ApiServer> {
  await sweepLeftovers();
  for (let attempt = 1; ; attempt++) {
    try {
      return await tryToStart(binaries);
    } catch (error) {
      // A port that was free a moment ago may be somebody else's by now.
      if (attempt === ATTEMPTS || !(error instanceof Error && error.message.includes("address already in use"))) throw error;
    }
  }
}

async function tryToStart(binaries: Readonly<Record<"etcd" | "kube-apiserver", string>>): Promise<ApiServer> {
  const folder = await mkdtemp(join(tmpdir(), `${PREFIX}${process.pid}-`));
  const started: DaemonProcess[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(started.map((daemon) => daemon.stop()));
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const [etcdPort = 0, etcdPeerPort = 0, apiPort = 0] = await findFreePorts(3);
    const plane: ControlPlane = {
      etcdPort,
      etcdPeerPort,
      apiPort,
      bindAddress: "127.0.0.1",
      advertiseAddress: "127.0.0.1",
      serviceRanges: [clusterAddresses.ipv4.services],
      pki: join(folder, "pki"),
      etcdData: join(folder, "etcd"),
      auditLog: join(folder, "audit.log"),
      auditPolicy: join(folder, "audit-policy.yaml"),
    };
    await mkdir(plane.etcdData, { mode: 0o700 });
    started.push(await startDaemon("etcd", [binaries.etcd, ...etcdArguments(plane)], join(folder, "etcd.log")));
    const authority = await writeControlPlaneFiles(plane);
    const argv = [binaries["kube-apiserver"], ...apiServerArguments(plane), "--disable-admission-plugins=ServiceAccount"];
    started.push(await startDaemon("kube-apiserver", argv, join(folder, "kube-apiserver.log")));

    const url = `https://127.0.0.1:${apiPort}`;
    const admin = await authority.issue({ commonName: "admin", organization: "system:masters" });
    const kubeconfig = join(folder, "kubeconfig");
    await writeFile(kubeconfig, renderKubeconfig({ server: url, ca: authority.ca.certificate, client: admin }), { mode: 0o600 });
    const probe = createReadinessProbe(url, authority.ca.certificate, admin);
    try {
      const whyNever = (): string | undefined => {
        const dead = started.find((daemon) => !daemon.isRunning());
        return dead === undefined ? undefined : `${dead.name} ended. Its last words:\n${dead.lastWords()}`;
      };
      await waitUntil("The API server is not ready", () => probe.isReady(), { timeoutMs: READY_TIMEOUT_MS, whyNever });
    } finally {
      await probe.close();
    }
    return { url, kubeconfig, auditLog: plane.auditLog, ca: authority.ca, pids: started.map(({ pid }) => pid), close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Folders whose process was killed before it could clean up. */
async function sweepLeftovers(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1];
    if (pid !== undefined && !(await isAlive(Number(pid)))) await rm(join(tmpdir(), name), { recursive: true, force: true });
  }
}
