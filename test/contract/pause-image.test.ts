import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { waitUntil } from "../../lab/wait-until.ts";

const root = join(import.meta.dirname, "..", "..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");

interface Workload {
  readonly kind: string;
  readonly spec?: {
    readonly template?: { readonly spec?: { readonly containers?: readonly { readonly name: string; readonly command?: unknown }[] } };
  };
}

describe("the image without a command", () => {
  const [, text = "[]"] = /^ENTRYPOINT (\[.*\])$/m.exec(read("Containerfile")) ?? [];
  const [program = "", ...parameters] = JSON.parse(text) as readonly string[];

  it("waits, whatever arguments it gets, and ends at once when it is told to", async () => {
    const pause = spawn(program, [...parameters, "--help", "-x", "serve"], { stdio: ["ignore", "ignore", "pipe"] });
    const ended = once(pause, "exit");
    // Process 1 of a container gets only the signals that it handles: SIGTERM is number 15.
    const handlesTerm = (): boolean => {
      const [, caught = "0"] = /^SigCgt:\s+([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pause.pid}/status`, "utf8")) ?? [];
      return (BigInt(`0x${caught}`) & (1n << 14n)) !== 0n;
    };
    await waitUntil("it handles SIGTERM", () => Promise.resolve(handlesTerm()), { timeoutMs: 5_000 });
    pause.kill("SIGTERM");
    assert.deepEqual(await ended, [0, null]);
  });

  it("is nothing that our own workloads run: each names its command", () => {
    const workloads = globSync("manifests/*.yaml", { cwd: root }).flatMap((file) =>
      parseAllDocuments(read(file)).map((document) => document.toJS() as Workload | null),
    );
    const containers = workloads.flatMap((workload) => workload?.spec?.template?.spec?.containers ?? []);
    assert.ok(containers.length >= 4);
    assert.deepEqual(
      containers.filter(({ command }) => command === undefined).map(({ name }) => name),
      [],
    );
  });
});
