import { waitUntil } from "../../../lab/wait-until.ts";
import { storyCluster } from "./cluster.ts";
import type { Peers } from "./peers.ts";

/** What the program in the container saw last, on a file that it keeps open. */
export interface Seen {
  readonly ms: number;
  /** Code of the last failure, or "". */
  readonly error: string;
  readonly isWrong: boolean;
}

/** Where the container has the volume. */
export const FOLDER = "/var/run/data";

/** Writes 4 KiB and reads them back, on one handle, and answers how that went on port 8080. */
const programOf = ({ opensAnew }: { readonly opensAnew: boolean }): string => `const fs = require("node:fs/promises");
  const letters = Buffer.alloc(4096, "A"), read = Buffer.alloc(4096);
  const open = () => fs.open("${FOLDER}/file", fs.constants.O_RDWR | fs.constants.O_CREAT);
  open().then((file) => require("node:http").createServer(async (request, response) => {
    const at = performance.now();
    let error = "", isWrong = false;
    try {
      await file.write(letters, 0, 4096, 0);
      await file.read(read, 0, 4096, 0);
      isWrong = !read.equals(letters);
    } catch (reason) { error = reason.code; }
    if (${opensAnew} && ["ENOTCONN", "ECONNABORTED"].includes(error)) await open().then((again) => { file = again; }, () => undefined);
    response.end(JSON.stringify({ ms: performance.now() - at, error, isWrong }));
  }).listen(8080));
  process.once("SIGTERM", () => process.exit(0));`;

export const isPlain = ({ ms, error, isWrong }: Seen): boolean => ms < 500 && error === "" && !isWrong;

/** A pod with a volume that is to be served, whose init container has written the file `seed`. `opensAnew`: a file that is lost for good. */
export async function fileStorePod(
  namespace: string,
  { annotations = {}, opensAnew = false }: { readonly annotations?: Readonly<Record<string, string>>; readonly opensAnew?: boolean } = {},
): Promise<object> {
  const { peerImage: image } = await storyCluster();
  const container = { image, imagePullPolicy: "IfNotPresent", volumeMounts: [{ name: "data", mountPath: FOLDER }] };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: "store",
      namespace,
      labels: { app: "store", "squall.dev/inject": "enabled" },
      annotations: { "squall.dev/volumes": "data", ...annotations },
    },
    spec: {
      terminationGracePeriodSeconds: 2,
      initContainers: [{ ...container, name: "seed", command: ["node", "-e", `fs.writeFileSync("${FOLDER}/seed", "sown")`] }],
      containers: [{ ...container, name: "io", command: ["node", "-e", programOf({ opensAnew })] }],
      volumes: [{ name: "data", emptyDir: {} }],
    },
  };
}

/** The pod of fileStorePod, as it runs, and experiments on its files. */
export interface FileStore {
  waitUntilReady(): Promise<unknown>;
  uid(): Promise<string>;
  /** How often its program was started again. */
  restarts(): Promise<number>;
  /** Runs a script in the container. */
  exec(script: string): Promise<string>;
  look(): Promise<Seen>;
  until(what: string, isSo: (seen: Seen) => boolean): Promise<unknown>;
  apply(name: string, spec: object): Promise<unknown>;
  injected(name: string): Promise<unknown>;
  remove(name: string): Promise<unknown>;
}

export function fileStoreOf(peers: Peers): FileStore {
  const { namespace, kubectl } = peers;
  const field = async (path: string): Promise<string> =>
    (await kubectl(["get", "pod", "store", "-n", namespace, "-o", `jsonpath=${path}`])).trim();
  const exec = (script: string): Promise<string> => kubectl(["exec", "-n", namespace, "store", "-c", "io", "--", "node", "-e", script]);
  const look = async (): Promise<Seen> =>
    JSON.parse(await exec("fetch('http://127.0.0.1:8080').then((r) => r.text()).then((t) => console.log(t))")) as Seen;
  return {
    waitUntilReady: () =>
      kubectl(["wait", "-n", namespace, "--for=condition=Ready", "pod/store", "--timeout=120s"], { timeoutMs: 130_000 }),
    uid: () => field("{.metadata.uid}"),
    restarts: async () => Number(await field("{.status.containerStatuses[0].restartCount}")),
    exec,
    look,
    until: (what, isSo) =>
      waitUntil(
        what,
        async () => {
          const seen = await look();
          return isSo(seen) || JSON.stringify(seen);
        },
        { timeoutMs: 30_000 },
      ),
    apply: (name, spec) =>
      peers.apply({
        apiVersion: "chaos-mesh.org/v1alpha1",
        kind: "IOChaos",
        metadata: { name, namespace },
        spec: {
          mode: "one",
          selector: { labelSelectors: { app: "store" } },
          volumePath: FOLDER,
          path: `${FOLDER}/**`,
          percent: 100,
          ...spec,
        },
      }),
    injected: (name) =>
      kubectl(["wait", "-n", namespace, `iochaos/${name}`, "--for=condition=AllInjected", "--timeout=30s"], { timeoutMs: 40_000 }),
    remove: (name) => kubectl(["delete", "-n", namespace, `iochaos/${name}`, "--timeout=30s"]),
  };
}
