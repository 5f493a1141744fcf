import assert from "node:assert/strict";
import { readArguments, renderOptions } from "../../../daemon/stress/arguments.ts";

const rendered = (texts: readonly string[], of?: string): string => {
  const { options, problems } = readArguments(texts, of === undefined ? {} : { of });
  assert.deepEqual(problems, []);
  return renderOptions(options).join(" ");
};
const problemsOf = (text: string, of?: string): string => readArguments([text], of === undefined ? {} : { of }).problems.join("\n");

describe("readArguments", () => {
  it("splits on blanks, and writes short options and = as long options", () => {
    assert.equal(rendered(["--cpu 2  -l 50\n--vm=1", "--vm-bytes", "128m"]), "--cpu 2 --cpu-load 50 --vm 1 --vm-bytes 128m");
    assert.equal(rendered(["-m 1 -M --timeout 10s --taskset 0,2-3 --cpu -1"]), "--vm 1 --metrics --timeout 10s --taskset 0,2-3 --cpu -1");
  });

  const hostile: readonly (readonly [text: string, why: RegExp])[] = [
    ["--cpu 1 --log-file x", /^--log-file writes a report/],
    ["--cpu 1 --yaml=/etc/passwd", /^--yaml writes a report/],
    ["-Y out", /^"-Y" is no option/],
    ["--job evil", /^--job reads a file\. Write the options/],
    ["-j evil", /^"-j" is no option/],
    ["--cpu 1 --temp-path etc", /^--temp-path is about files/],
    ["--cpu 1 --keep-files", /^--keep-files is about files/],
    ["--cpu 1 --syslog", /^--syslog writes a report/],
    ["--exec 1", /^--exec runs programs/],
    ["--exec-method all", /^--exec-method runs programs/],
    ["--fork 100", /^--fork runs programs or processes/],
    ["--class os --all 1", /^--class starts stressors without naming them.*\n--all starts stressors/],
    ["-a 1", /^"-a" is no option/],
    ["--sequential 0", /^--sequential starts stressors/],
    ["--cpu-online 1", /^--cpu-online is not allowed/],
    ["--hdd 1 --hdd-bytes 1g", /^--hdd is not allowed: it may reach beyond the container[^\n]*\n--hdd-bytes is not allowed/],
    ["--reboot 1", /^--reboot is not allowed/],
    ["--pathological", /^--pathological is not allowed/],
    ["--sched fifo", /^--sched needs privileges/],
    ["--no-oom-adjust", /^--no-oom-adjust is set already/],
    ["--vm-byt 1g", /^--vm-byt is not allowed/],
    ["--dev 1 --dev-file mem", /^--dev is not allowed/],
    ["--constructor 1", /^--constructor is not allowed/],
    ["--cpu /etc/shadow", /^--cpu has the value "\/etc\/shadow"\. Write a number/],
    ["--cpu $(reboot)", /^--cpu has the value "\$\(reboot\)"/],
    ["--cpu --vm", /^--cpu has the value "--vm"/],
    ["--cpu", /^--cpu has no value/],
    ["--quiet=yes", /^--quiet takes no value/],
    ["reboot", /^"reboot" is no option/],
    ["-- --cpu", /^"--" is no option/],
    ["--vm-locked --vm 1", /^--vm-locked is not allowed/],
  ];
  for (const [text, why] of hostile) it(`refuses ${text}`, () => assert.match(problemsOf(text), why));

  it("keeps the options of a stressor with workers to that stressor", () => {
    assert.equal(rendered(["--cpu-method matrixprod --quiet"], "cpu"), "--cpu-method matrixprod --quiet");
    assert.match(problemsOf("--vm 1", "cpu"), /^--vm starts other workers .* stressngStressors\.$/);
    assert.match(problemsOf("--cpu 1", "cpu"), /^--cpu starts other workers/);
    assert.match(problemsOf("--vm-method all", "cpu"), /^--vm-method is not allowed.* Allowed are --cpu-…/);
    assert.match(problemsOf("--timeout 1s", "cpu"), /Write spec\.duration\.$/);
    assert.match(problemsOf("--cpu-ops 9", "cpu"), /Write spec\.duration\.$/);
  });
});
