import { spawn } from "node:child_process";

/**
 * `npm test`: every suite, quickest first. Suites go on after a failure, so that one run tells everything.
 * Ends with one line that sums up.
 */
const suites = [
  { title: "unit and property tests", config: ".mocharc.json" },
  { title: "objects of every kind, changed at random", config: "test/fuzz/.mocharc.json" },
  { title: "integration tests against a real API server", config: "test/integration/.mocharc.json" },
  { title: "plans on the real kernel, in network namespaces", config: "test/netns/.mocharc.json" },
  { title: "plans on a kernel with netem, in User-Mode Linux", config: "test/uml/.mocharc.json" },
  { title: "stories in a real cluster", config: "test/cluster/.mocharc.json" },
] as const;

interface Outcome {
  readonly passed: number;
  readonly failed: number;
}

function runSuite(config: string): Promise<Outcome> {
  const child = spawn(process.execPath, ["node_modules/mocha/bin/mocha.js", "--config", config], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, SQUALL_TEST_TREE: "1" },
  });
  let tail = "";
  child.stdout.on("data", (chunk: Buffer) => {
    process.stdout.write(chunk);
    tail = (tail + chunk.toString()).slice(-400);
  });
  return new Promise((resolve) => {
    child.on("close", (code) => {
      const match = /(\d+) passed, (\d+) failed(?:, \d+ skipped)?\n$/.exec(tail);
      const failed = Number(match?.[2] ?? 0);
      // A suite that died without its closing line, or failed outside a test, counts as one failure.
      resolve({ passed: Number(match?.[1] ?? 0), failed: code === 0 && match ? failed : Math.max(failed, 1) });
    });
  });
}

let passed = 0;
let failed = 0;
for (const { title, config } of suites) {
  const started = performance.now();
  process.stdout.write(`\n== ${title}\n`);
  const outcome = await runSuite(config);
  process.stdout.write(`   took ${((performance.now() - started) / 1000).toFixed(0)} s\n`);
  passed += outcome.passed;
  failed += outcome.failed;
}
process.stdout.write(`\n${passed} passed, ${failed} failed\n`);
process.exit(failed === 0 ? 0 : 1);
