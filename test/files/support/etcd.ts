import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureBinaries } from "../../../lab/binaries.ts";
import { findFreePorts } from "../../../lab/free-ports.ts";
import { placesOf } from "../../../lab/places.ts";
import { createProgress } from "../../../lab/progress.ts";
import type { Database, RunningDatabase } from "./database.ts";
import { DatabaseProcess } from "./database-process.ts";

const sources = { cache: placesOf(process.env).cache, kubebuilderAssets: process.env["KUBEBUILDER_ASSETS"] };
const findEtcd = async (): Promise<string> => (await ensureBinaries(["etcd"], sources, createProgress(process.stderr))).etcd;
const encode = (text: string): string => Buffer.from(text).toString("base64");
const decode = (text: string): string => Buffer.from(text, "base64").toString();
const valueOf = (key: number): string => `value ${key} `.repeat(50);

/** The lab's, one member. */
export const etcd: Database = {
  name: "etcd",
  prepare: async () => void (await findEtcd()),
  create: () => Promise.resolve(),
  start,
  // It has no check of its own for one member; its start reads its log, with check sums, and its store.
  check: async (folder) => {
    const running = await start(folder);
    try {
      await running.read();
      return [];
    } finally {
      await running.kill();
    }
  },
};

async function start(folder: string): Promise<RunningDatabase> {
  const program = await findEtcd();
  const [client = 0, peer = 0] = await findFreePorts(2);
  const [clientUrl, peerUrl] = [`http://127.0.0.1:${client}`, `http://127.0.0.1:${peer}`];
  const own = mkdtempSync(join(tmpdir(), "squall-etcd-"));
  const argv = [program, "--data-dir", join(folder, "data"), "--listen-client-urls", clientUrl, "--advertise-client-urls", clientUrl];
  // Another port at each start: a member's own address is in its log.
  const server = new DatabaseProcess([...argv, "--listen-peer-urls", peerUrl, "--snapshot-count=50"], own);
  const ask = async (
    path: string,
    body: unknown,
  ): Promise<{ readonly kvs?: readonly { readonly key: string; readonly value: string }[] }> => {
    const signal = AbortSignal.timeout(20_000);
    const response = await fetch(`${clientUrl}/v3/${path}`, { method: "POST", body: JSON.stringify(body), signal });
    if (!response.ok) throw new Error(`etcd answered ${response.status}: ${await response.text()}`);
    return (await response.json()) as { readonly kvs?: readonly { readonly key: string; readonly value: string }[] };
  };
  try {
    await server.untilReady(() => ask("kv/range", { key: encode("0") }));
  } catch (error) {
    await server.kill();
    throw error;
  }
  return {
    get pid() {
      return server.pid;
    },
    get end() {
      return server.end;
    },
    write: async (key) => void (await ask("kv/put", { key: encode(String(key)), value: encode(valueOf(key)) })),
    read: async () => {
      const { kvs = [] } = await ask("kv/range", { key: encode("0"), range_end: encode(":") });
      return kvs
        .map(({ key, value }) => ({ key: Number(decode(key)), value: decode(value) }))
        .filter(({ key, value }) => value === valueOf(key))
        .map(({ key }) => key);
    },
    kill: () => server.kill(),
  };
}
