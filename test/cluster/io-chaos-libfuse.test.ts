import assert from "node:assert/strict";
import { waitUntil } from "../../lab/wait-until.ts";
import { type FileStore, FOLDER, fileStoreOf, fileStorePod, isPlain } from "./support/file-store.ts";
import { podProcesses, signalAll } from "./support/node-processes.ts";
import { type Peers, startPeers } from "./support/peers.ts";

const NAMESPACE = "fuse-street";
const STRICT = "strict-street";
const ALLOWED = "squall.dev/files-driver=libfuse";

/** What kubectl warns of when this pod is applied, without being made. */
async function warningsOf({ kubectl }: Peers, pod: object): Promise<string> {
  const { code, stderr } = await kubectl.attempt(["apply", "--dry-run=server", "-f", "-"], { stdin: JSON.stringify(pod) });
  assert.equal(code, 0, stderr);
  return stderr;
}

const untilWarned = (peers: Peers, pod: object, pattern: RegExp): Promise<unknown> =>
  waitUntil(
    `kubectl warns: ${pattern.source}`,
    async () => {
      const warnings = await warningsOf(peers, pod);
      return pattern.test(warnings) || `warnings: ${warnings}`;
    },
    { timeoutMs: 60_000 },
  );

(process.arch === "x64" ? describe : describe.skip)("a user faults the files of a volume on a node without the daemon's help", () => {
  let peers: Peers;
  let store: FileStore;

  before(async () => {
    peers = await startPeers(NAMESPACE, []);
    store = fileStoreOf(peers);
  });
  after(() => peers.remove());
  afterEach(() => peers.kubectl(["delete", "iochaos", "--all", "-n", NAMESPACE, "--timeout=60s"], { timeoutMs: 70_000 }));

  it("refuses it to a pod that asks for it by itself, and says who may allow it", async () => {
    const asking = await fileStorePod(NAMESPACE, { annotations: { "squall.dev/files-driver": "libfuse" } });
    assert.match(
      await warningsOf(peers, asking),
      /FilesDriverNotAllowed: [^]*kubectl annotate namespace NAME squall\.dev\/files-driver=libfuse/,
    );
    const { stdout } = await peers.kubectl.attempt(["apply", "--dry-run=server", "-o", "json", "-f", "-"], {
      stdin: JSON.stringify(asking),
    });
    assert.match(stdout, /SQUALL_VOLUMES/);
    assert.doesNotMatch(stdout, /"privileged": true|SQUALL_FILES_DRIVER/);
  });

  it("has it in a namespace that allows it, and says that the sidecar is privileged", async () => {
    await peers.kubectl(["annotate", "namespace", NAMESPACE, ALLOWED]);
    const pod = await fileStorePod(NAMESPACE, { opensAnew: true });
    await untilWarned(peers, pod, /PrivilegedSidecar: .* to serve data without a daemon/);
    const { code, stderr } = await peers.kubectl.attempt(["apply", "-f", "-"], { stdin: JSON.stringify(pod) });
    assert.equal(code, 0, stderr);
    assert.match(stderr, /PrivilegedSidecar/);
    await store.waitUntilReady();
    assert.equal((await store.exec(`console.log(fs.readFileSync("${FOLDER}/seed", "utf8"))`)).trim(), "sown");
    assert.equal((await store.exec(`console.log(fs.statfsSync("${FOLDER}").type.toString(16))`)).trim(), "65735546");
    assert.equal(podProcesses(await store.uid(), "serve-libfuse").length, 1);
  });

  it("delays a file that is open, and takes it back", async () => {
    await store.until("files are as they should be", isPlain);
    await store.apply("slow", { action: "latency", delay: "1s" });
    await store.injected("slow");
    await store.until("the delay is seen", ({ ms }) => ms >= 1_000);
    await store.remove("slow");
    await store.until("files are as before", isPlain);
  });

  it("fails writing, and takes it back", async () => {
    await store.apply("bad", { action: "fault", errno: 5, methods: ["write"] });
    await store.injected("bad");
    await store.until("the error is seen", ({ error }) => error === "EIO");
    const path = "{.status.experiment.containerRecords[0].receipts.matched}";
    await waitUntil("there are receipts", async () => Number(await peers.jsonpath("iochaos/bad", path)) > 0, { timeoutMs: 60_000 });
    await store.remove("bad");
    await store.until("files are as before", isPlain);
  });

  it("does not give a file out as one of another type, and says why", async () => {
    await store.apply("type", { action: "attrOverride", attr: { kind: "directory" } });
    const reason = "{.status.experiment.containerRecords[0].reason}";
    const isTold = async (): Promise<boolean | string> => {
      const told = await peers.jsonpath("iochaos/type", reason);
      return told === "LibfuseNotSupported" || `reason: ${told}`;
    };
    await waitUntil("the record says why", isTold, { timeoutMs: 30_000 });
    assert.ok(isPlain(await store.look()));
  });

  it("comes back when its server is killed, to a program that opens its file again, with what was written", async () => {
    const uid = await store.uid();
    await store.exec(`fs.writeFileSync("${FOLDER}/acknowledged", "kept", { flush: true })`);
    signalAll(podProcesses(uid, "serve-libfuse"), "SIGKILL");
    await waitUntil("another server is there", () => podProcesses(uid, "serve-libfuse").length === 1, { timeoutMs: 20_000 });
    await store.until("files are as before", isPlain);
    assert.equal(await store.restarts(), 0);
    assert.equal((await store.exec(`console.log(fs.readFileSync("${FOLDER}/acknowledged", "utf8"))`)).trim(), "kept");
    await store.apply("after", { action: "fault", errno: 5, methods: ["write"] });
    await store.until("faults work as before", ({ error }) => error === "EIO");
  });

  it("lets the pod go at once, with a call that is held", async () => {
    await store.apply("hold", { action: "latency", delay: "10m" });
    await store.injected("hold");
    const looking = store.look().catch(() => undefined);
    const startMs = performance.now();
    await peers.kubectl(["delete", "pod", "store", "-n", NAMESPACE, "--timeout=40s"], { timeoutMs: 50_000 });
    assert.ok(performance.now() - startMs < 35_000);
    await looking;
  });

  it("leaves the volumes alone where a policy forbids privileged containers, and says which", async () => {
    const strict = await startPeers(STRICT, []);
    const metadata = { name: "squall-story-unprivileged" };
    try {
      await strict.apply(
        {
          apiVersion: "admissionregistration.k8s.io/v1",
          kind: "ValidatingAdmissionPolicy",
          metadata,
          spec: {
            matchConstraints: { resourceRules: [{ apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE"], resources: ["pods"] }] },
            validations: [
              {
                expression: "!object.spec.?initContainers.orValue([]).exists(c, c.?securityContext.?privileged.orValue(false))",
                message: "nobody is privileged here",
              },
            ],
          },
        },
        {
          apiVersion: "admissionregistration.k8s.io/v1",
          kind: "ValidatingAdmissionPolicyBinding",
          metadata,
          spec: {
            policyName: metadata.name,
            validationActions: ["Deny"],
            matchResources: { namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": STRICT } } },
          },
        },
      );
      const privileged = {
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name: "privileged", namespace: STRICT },
        spec: {
          initContainers: [{ name: "one", image: "one", securityContext: { privileged: true } }],
          containers: [{ name: "two", image: "two" }],
        },
      };
      await waitUntil(
        "the policy is in force",
        async () => {
          const { stderr } = await strict.kubectl.attempt(["apply", "--dry-run=server", "-f", "-"], { stdin: JSON.stringify(privileged) });
          return stderr.includes("nobody is privileged here") || `admitted: ${stderr}`;
        },
        { timeoutMs: 60_000 },
      );
      await strict.kubectl(["annotate", "namespace", STRICT, ALLOWED]);
      const pod = await fileStorePod(STRICT);
      await waitUntil(
        "the pod is admitted without served volumes",
        async () => {
          const { code, stderr } = await strict.kubectl.attempt(["apply", "--dry-run=server", "-f", "-"], { stdin: JSON.stringify(pod) });
          return (
            (code === 0 && /VolumeNotServed: The policies of the namespace refuse[^]*nobody is privileged here/.test(stderr)) || stderr
          );
        },
        { timeoutMs: 90_000 },
      );
    } finally {
      await strict.kubectl.attempt(["delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", metadata.name]);
      await strict.remove();
    }
  });
});
