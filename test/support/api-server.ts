import { startApiServer } from "../../lab/api-server.ts";
import { ensureBinaries } from "../../lab/binaries.ts";
import { placesOf } from "../../lab/places.ts";
import { apiServerPrograms } from "../../lab/programs.ts";
import { createProgress } from "../../lab/progress.ts";

export interface TestApiServer {
  /** Path of a kubeconfig with all rights. */
  readonly kubeconfig: string;
  /** Path of the audit log; one JSON object a line: see `readAuditLog`. */
  readonly auditLog: string;
  readonly url: string;
  /** PEM; with its key, to sign client certificates of other users. */
  readonly ca: { readonly certificate: string; readonly key: string };
  readonly pids: readonly number[];
  close(): Promise<void>;
}

/**
 * A real kube-apiserver with etcd on loopback, ready in about 5 s: webhooks by URL, RBAC, TokenRequest and an audit log work; no controllers
 * run (see lab/api-server.ts). Give the hook that calls it a timeout of 60 s.
 */
export async function startTestApiServer(): Promise<TestApiServer> {
  const sources = { cache: placesOf(process.env).cache, kubebuilderAssets: process.env["KUBEBUILDER_ASSETS"] };
  return await startApiServer(await ensureBinaries(apiServerPrograms, sources, createProgress(process.stderr)));
}
