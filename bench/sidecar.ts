import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { planInjection } from "../api/injection.ts";
import type { JsonObject } from "../api/json.ts";
import { createAuthority, openAuthority } from "../certs/authority.ts";
import { ports } from "../common/names.ts";
import { sidecarPaths, sidecarVariables } from "../common/sidecar-layout.ts";
import { VERSION } from "../common/version.ts";
import { writeBundles } from "../lab/bundles.ts";
import { type Child, createTwoHosts, LEFT, LEFT6, RIGHT, type TwoHosts } from "../test/netns/support/two-hosts.ts";
import type { BenchResult, BenchRow } from "./result.ts";
import type { EnrolmentOrder } from "./sidecar-enrolment-process.ts";
import type { Idle, PodOrder, Started } from "./sidecar-pod-process.ts";

const COPIES = 5;
const IDLE_MS = 10_000;
const HOUR_MS = 3_600_000;
const POD_UID = "0c6f2f0c-6a58-4c1e-9c80-6d4d3c1d6a11";

const median = (numbers: readonly number[]): number => numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN;

/**
 * What an idle sidecar costs: several copies of the bundle that ships, each in a network namespace of its own and started as the injector
 * has it started, enrolled with a server in the namespace beside it; and as many processes of Node that do nothing.
 */
export async function run(): Promise<BenchResult> {
  const folder = mkdtempSync(join(tmpdir(), "squall-bench-"));
  const pairs: TwoHosts[] = [];
  const pods: Child<PodOrder, Started & Idle>[] = [];
  try {
    await writeBundles(folder);
    const { command, cache } = readStart(folder);
    const bare = join(folder, "bare.mjs");
    writeFileSync(bare, `import { writeSync } from "node:fs";\nwriteSync(1, "up");\nsetInterval(() => undefined, 2 ** 30);\n`);
    const stored = await createAuthority({ now: new Date(), lifetimeMs: HOUR_MS });
    const sidecars = { started: [] as Started[], idle: [] as Idle[] };
    const idlers = { started: [] as Started[], idle: [] as Idle[] };
    for (let copy = 0; copy < COPIES; copy++) {
      const pair = await createTwoHosts();
      pairs.push(pair);
      await pair.right.start<EnrolmentOrder, object>(new URL("sidecar-enrolment-process.ts", import.meta.url)).ask({
        address: `${RIGHT}:${ports.enrolment}`,
        authority: stored,
        pod: { namespace: "shop", uid: POD_UID },
      });
      pods.push(pair.left.start<PodOrder, Started & Idle>(new URL("sidecar-pod-process.ts", import.meta.url)));
    }
    const authority = openAuthority(stored);
    for (const pod of pods) {
      idlers.started.push(await pod.ask({ do: "start", argv: [process.execPath, bare], variables: {}, upWhen: "it writes" }));
      await pod.ask({ do: "write", files: { [sidecarPaths.token]: "token", [sidecarPaths.ca]: authority.certificate } });
      const variables = { ...variablesOf(`${RIGHT}:${ports.enrolment}`), NODE_COMPILE_CACHE: cache };
      sidecars.started.push(await pod.ask({ do: "start", argv: command, variables, upWhen: "it listens" }));
      await sleep(500);
    }
    await sleep(IDLE_MS);
    for (const pod of pods) {
      idlers.idle.push(await pod.ask({ do: "read", process: 0 }));
      sidecars.idle.push(await pod.ask({ do: "read", process: 1 }));
    }
    return { title: `An idle sidecar (medians of ${COPIES})`, rows: rowsOf(sidecars, idlers), notes: [] };
  } finally {
    for (const pod of pods) await pod.ask({ do: "end" });
    for (const pair of pairs) await pair.close();
    rmSync(folder, { recursive: true });
  }
}

interface Measured {
  readonly started: readonly Started[];
  readonly idle: readonly Idle[];
}

function rowsOf(sidecar: Measured, bare: Measured): readonly BenchRow[] {
  const figures: readonly (readonly [name: string, unit: string, goal: string | undefined, of: (measured: Measured) => number])[] = [
    ["resident memory", "MB", "≤ 60 MB", ({ idle }) => median(idle.map(({ residentKb }) => residentKb / 1000))],
    ["private memory", "MB", "≤ 15 MB", ({ idle }) => median(idle.map(({ privateKb }) => privateKb / 1000))],
    ["anonymous memory", "MB", undefined, ({ idle }) => median(idle.map(({ anonymousKb }) => anonymousKb / 1000))],
    ["exec to listening", "ms", "≤ 150 ms", ({ started }) => median(started.map(({ upMs }) => upMs))],
    ["CPU until then", "ms", undefined, ({ started }) => median(started.map(({ cpuMs }) => cpuMs))],
  ];
  return figures.flatMap(([name, unit, goal, of]): readonly BenchRow[] => [
    { name, value: of(sidecar), unit, goal },
    { name: `${name}: Node that does nothing`, value: of(bare), unit },
    { name: `${name}: ratio`, value: of(sidecar) / of(bare), unit: "" },
  ]);
}

/** The command that the injector writes, for bundles in this folder, and the compile cache that the image has. */
function readStart(folder: string): { readonly command: readonly string[]; readonly cache: string } {
  const here = (text: string): string => (text === "node" ? process.execPath : text.replace(/^\/squall\//, `${folder}/`));
  const command = injectedSidecar().command.map(here);
  const cache = join(folder, "cache");
  execFileSync(process.execPath, [join(folder, "sidecar.mjs"), "dump"], {
    env: { PATH: process.env["PATH"], NODE_COMPILE_CACHE: cache },
    stdio: "ignore",
  });
  return { command, cache };
}

function injectedSidecar(): { readonly command: readonly string[] } {
  const pod: JsonObject = {
    metadata: { labels: { "squall.dev/inject": "enabled" } },
    spec: { containers: [{ name: "app", image: "app" }] },
  };
  const injection = planInjection(pod, {
    image: "squall",
    version: VERSION,
    enrolmentAddress: "",
    logLevel: "info",
    isImageReady: true,
    kubernetesMinor: undefined,
    namespaceAnnotations: {},
  });
  if (injection.do !== "inject") throw new Error(JSON.stringify(injection));
  const [sidecar] = injection.patch.flatMap((operation) =>
    operation.op === "add" && operation.path === "/spec/initContainers" ? (operation.value as readonly { command: string[] }[]) : [],
  );
  if (sidecar === undefined) throw new Error("The injector adds no sidecar.");
  return sidecar;
}

const variablesOf = (enrolmentAddress: string): Readonly<Record<string, string>> => ({
  [sidecarVariables.podUid]: POD_UID,
  [sidecarVariables.podName]: "web",
  [sidecarVariables.podNamespace]: "shop",
  [sidecarVariables.podIps]: `${LEFT},${LEFT6}`,
  [sidecarVariables.hostIps]: RIGHT,
  [sidecarVariables.probePorts]: "8080",
  [sidecarVariables.enrolmentAddress]: enrolmentAddress,
  [sidecarVariables.logLevel]: "info",
});
