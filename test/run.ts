import { type ChildProcessByStdio, spawn } from "node:child_process";
import type { Readable } from "node:stream";

/**
 * `npm test`: every suite, quickest first. Suites go on after a failure, so that one run tells everything.
 * Ends with what failed, once more, as a long log may be seen from its end only, and with one line that sums up.
 */
const suites: readonly Suite[] = [
  { title: "unit and property tests", config: ".mocharc.json" },
  { title: "objects of every kind, changed at random", config: "test/fuzz/.mocharc.json" },
  { title: "integration tests against a real API server", config: "test/integration/.mocharc.json" },
  { title: "plans on the real kernel, in network namespaces", config: "test/netns/.mocharc.json" },
  { title: "faults of the daemon on the real kernel", config: "test/node/.mocharc.json" },
  // `npm run test:files` has the public suites and databases as well, which are built and take long.
  { title: "volumes served through FUSE", config: "test/files/.mocharc.json", grep: "a volume behind (FUSE|libfuse)" },
  { title: "plans on a kernel with netem, in User-Mode Linux", config: "test/uml/.mocharc.json" },
  { title: "stories in a real cluster", config: "test/cluster/.mocharc.json" },
  // `npm run test:cluster:uml` plays Chaos Mesh's rows there as well: on a kernel of one slow CPU, for a machine that does nothing else.
  {
    title: "stories on a kernel with netem and iptables-legacy, and with IPv6",
    config: "test/cluster-uml/.mocharc.json",
    grep: "by netem and iptables-legacy|by NFQUEUE and iptables-nft",
  },
];

interface Suite {
  readonly title: string;
  readonly config: string;
  /** Only tests whose full title matches. */
  readonly grep?: string;
}

interface Outcome {
  readonly passed: number;
  readonly failed: number;
  /** What Mocha printed of the failures, or the suite's last lines where it did not come that far; empty without a failure. */
  readonly report: string;
}

const MAX_LINGER_MS = 60_000;
const MAX_TAIL_LENGTH = 100_000;
const MAX_REPORT_LENGTH = 4_000;

function runSuite({ config, grep }: Suite): Promise<Outcome> {
  const only = grep === undefined ? [] : ["--grep", grep];
  const child = spawn(process.execPath, ["node_modules/mocha/bin/mocha.js", "--config", config, ...only], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, SQUALL_TEST_TREE: "1" },
  });
  let tail = "";
  const summary = (): RegExpExecArray | null => /(\d+) passed, (\d+) failed(?:, \d+ skipped)?\n$/.exec(tail);
  child.stdout.on("data", (chunk: Buffer) => {
    process.stdout.write(chunk);
    tail = (tail + chunk.toString()).slice(-MAX_TAIL_LENGTH);
    if (summary() !== null) setTimeout(() => endOverdue(child), MAX_LINGER_MS).unref();
  });
  return new Promise((resolve) => {
    child.on("close", (code) => {
      const match = summary();
      const failed = Number(match?.[2] ?? 0);
      // A suite that died without its closing line, or failed outside a test, counts as one failure.
      const counted = code === 0 && match ? failed : Math.max(failed, 1);
      const [report = ""] = counted === 0 ? [] : (/^ +\d+ failing\n[^]*/m.exec(tail) ?? [tail.slice(-MAX_REPORT_LENGTH)]);
      resolve({ passed: Number(match?.[1] ?? 0), failed: counted, report: report.slice(0, MAX_REPORT_LENGTH) });
    });
  });
}

/** What a test started and left behind keeps its suite from ending: that is a failure, not a reason to wait for ever. */
function endOverdue(child: ChildProcessByStdio<null, Readable, null>): void {
  if (child.exitCode !== null || child.signalCode !== null) return;
  process.stdout.write("This suite does not end: a test left a process, a socket or a timer. It is ended, and counts as failed.\n");
  child.kill("SIGKILL");
  child.stdout.destroy(); // what is left may hold the other end
}

let passed = 0;
let failed = 0;
const reports: string[] = [];
for (const suite of suites) {
  const started = performance.now();
  process.stdout.write(`\n== ${suite.title}\n`);
  const outcome = await runSuite(suite);
  process.stdout.write(`   took ${((performance.now() - started) / 1000).toFixed(0)} s\n`);
  passed += outcome.passed;
  failed += outcome.failed;
  if (outcome.failed > 0) reports.push(`\n== failed in: ${suite.title}\n${outcome.report}`);
}
process.stdout.write(reports.join(""));
process.stdout.write(`\n${passed} passed, ${failed} failed\n`);
process.exit(failed === 0 ? 0 : 1);
