import assert from "node:assert/strict";
import { planStress, renderArguments, type StressFacts, type StressPlan } from "../../../daemon/stress/plan.ts";
import type { CpuStress, MemoryStress, StressFault } from "../../../daemon/stress/stress-fault.ts";

const facts: StressFacts = { memoryLimitBytes: 200_000_000, nodeMemoryBytes: 8e9, nodeAvailableBytes: 4e9, processors: 4 };
const unlimited: StressFacts = { ...facts, memoryLimitBytes: undefined };
const cpu = (more: Partial<CpuStress> = {}): StressFault => ({
  cpu: { workers: 1, loadPercent: 100, options: [], ...more },
  stressngArguments: "",
});
const memory = (more: Partial<MemoryStress> = {}): StressFault => ({
  memory: { workers: 1, size: { bytes: 50_000_000 }, oomScoreAdj: 0, rampMs: 0, options: [], ...more },
  stressngArguments: "",
});
const run = { lastsSeconds: 60, scratchFolder: "/scratch", withRamp: true };
const COMMON = "--oomable --no-oom-adjust --temp-path /scratch --timeout 60";

function linesOf(plan: StressPlan): readonly string[] {
  assert.equal(plan.is, "planned", plan.is === "refused" ? plan.problems.join("\n") : "");
  return plan.is === "planned"
    ? plan.processes.map((process) =>
        renderArguments(process, { ...run, workers: process.what === "arguments" ? 1 : process.workers }).join(" "),
      )
    : [];
}
const problemsOf = (plan: StressPlan): string => (plan.is === "refused" ? plan.problems.join("\n") : "");

describe("planStress", () => {
  it("keeps processors busy", () => {
    assert.deepEqual(linesOf(planStress(cpu({ workers: 2, loadPercent: 60, options: ["--cpu-method", "matrixprod"] }), facts)), [
      `${COMMON} --cpu-load-slice 10 --cpu-method sqrt --cpu 2 --cpu-load 60 --cpu-method matrixprod`,
    ]);
  });

  it("starts a worker for each processor of the container where their number is below 0", () => {
    assert.match(linesOf(planStress(cpu({ workers: -1 }), facts))[0] ?? "", / --cpu 4 /);
  });

  it("divides the size among workers, less what stress-ng has itself", () => {
    assert.deepEqual(linesOf(planStress(memory({ workers: 2 }), facts)), [
      `${COMMON} --vm-keep --vm-hang 0 --vm-method write64 --vm 2 --vm-bytes 44539904`,
    ]);
  });

  it("takes a share of the limit, and of the node where there is none", () => {
    const bytes = (of: StressFacts): number => {
      const plan = planStress(memory({ size: { percent: 25 } }), of);
      return plan.is === "planned" && plan.processes[0]?.what === "memory" ? plan.processes[0].workerBytes : 0;
    };
    assert.equal(bytes(facts), Math.round((50_000_000 - 4_980_000) / 4096) * 4096);
    assert.equal(bytes(unlimited), Math.round((2_000_000_000 - 4_980_000) / 4096) * 4096);
  });

  it("makes a ramp of workers that start one after the other", () => {
    const [line = ""] = linesOf(planStress(memory({ rampMs: 10_000 }), facts));
    assert.match(line, / --vm 20 --vm-bytes \d+ --backoff 500000$/);
  });

  it("starts workers in place of others without a ramp, and each as large as before", () => {
    const plan = planStress(memory({ rampMs: 10_000 }), facts);
    const [process] = plan.is === "planned" ? plan.processes : [];
    assert.equal(process?.what, "memory");
    if (process?.what !== "memory") return;
    const line = renderArguments(process, { ...run, workers: 3, withRamp: false }).join(" ");
    assert.match(line, new RegExp(` --vm 3 --vm-bytes ${3 * process.workerBytes}$`));
  });

  it("reads the options that Chaos Mesh's memory stressor has", () => {
    const plan = planStress(memory({ size: undefined, options: ["--time", "10s", "--size=100MB", "--vm-method read64"] }), facts);
    assert.match(linesOf(plan)[0] ?? "", / --vm 20 --vm-bytes 85934080 --backoff 500000 --vm-method read64$/);
    assert.equal(
      problemsOf(planStress(memory({ options: ["--time 10", "--size much"] }), facts)),
      'memory.options: --time has the value "10". Write a duration such as "10s".\n' +
        'memory.options: --size has the value "much". Write a size such as "256MB", or a share such as "25%".',
    );
  });

  it("plans both as two processes, and arguments as they are instead of both", () => {
    const both: StressFault = { ...cpu(), ...memory() };
    assert.equal(linesOf(planStress(both, facts)).length, 2);
    assert.deepEqual(linesOf(planStress({ ...both, stressngArguments: "--matrix 1\n  --timeout 5" }, facts)), [
      `${COMMON} --matrix 1 --timeout 5`,
    ]);
  });

  const refusals: readonly (readonly [title: string, fault: StressFault, of: StressFacts, why: RegExp])[] = [
    ["nothing", { stressngArguments: " " }, facts, /^Nothing is stressed: .*Write one such as workers: 1\.$/],
    ["no worker", cpu({ workers: 0 }), facts, /^Nothing is stressed/],
    ["an odd load", cpu({ loadPercent: 0 }), facts, /^cpu\.load is 0\. Write a whole number of percent from 1 to 100\.$/],
    ["too many workers", cpu({ workers: 8193 }), facts, /^cpu\.workers is 8193/],
    ["no size", memory({ size: undefined }), facts, /^memory\.size is missing\. Write a size such as "256MB"/],
    ["no memory", memory({ size: { bytes: 0 } }), facts, /^memory\.size is 0 bytes/],
    ["no share", memory({ size: { percent: 0 } }), facts, /^memory\.size is 0 %\. Write a share from 1% to 100%\.$/],
    ["an odd score", memory({ oomScoreAdj: 1001 }), facts, /^memory\.oomScoreAdj is 1001/],
    [
      "more than the node has left, without a limit",
      memory({ size: { bytes: 5e9 } }),
      unlimited,
      /^memory\.size: the container has no memory limit, and 5,000 MB are more than the 4,000 MB that the node has left/,
    ],
    ["hostile options", cpu({ options: ["--log-file", "/x"] }), facts, /^cpu\.options: --log-file writes a report/],
    ["hostile arguments", { stressngArguments: "--job /x" }, facts, /^stressngStressors: --job reads a file/],
    ["arguments that start nothing", { stressngArguments: "--quiet" }, facts, /^stressngStressors starts no stressor/],
    ["endless memory without a limit", { stressngArguments: "--bigheap 1" }, unlimited, /--bigheap takes memory without end/],
    [
      "too much memory without a limit",
      { stressngArguments: "--vm 1 --vm-bytes 5g" },
      unlimited,
      /--vm-bytes: the container has no memory limit/,
    ],
    ["memory of unknown size", { stressngArguments: "--vm 1 --vm-bytes x" }, unlimited, /--vm-bytes: the container has no memory limit/],
  ];
  for (const [title, fault, of, why] of refusals) it(`refuses ${title}`, () => assert.match(problemsOf(planStress(fault, of)), why));

  it("lets the limit of a container end what takes memory", () => {
    assert.equal(planStress({ stressngArguments: "--bigheap 1" }, facts).is, "planned");
    assert.equal(planStress(memory({ size: { bytes: 5e9 } }), facts).is, "planned");
  });

  it("tells all problems at once", () => {
    const both: StressFault = { ...cpu({ loadPercent: 101 }), ...memory({ size: undefined }) };
    assert.equal(problemsOf(planStress(both, facts)).split("\n").length, 2);
  });
});
