import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { FaultState } from "../../proto/gen/agent.ts";
import { crashCases, type Probe, startProbe } from "./support/crash-cases.ts";
import { type AgentHandle, createTwoHosts, type TwoHosts } from "./support/two-hosts.ts";

const run = promisify(execFile);

/** What lies on the disk is the disk's own story here. */
const withoutFiles = (residue: string): string => residue.replace(/^== files\n(?:(?!==).*\n)*/m, "");

/** No fault without a way back on disk. */
describe("an agent whose journal cannot be written", () => {
  let hosts: TwoHosts;
  let probe: Probe;
  beforeEach(async () => {
    hosts = await createTwoHosts();
    probe = await startProbe(hosts);
  });
  afterEach(() => hosts.close());

  const inside = ({ process }: AgentHandle, ...argv: readonly string[]): Promise<unknown> =>
    run("nsenter", [`--mount=/proc/${process.pid}/ns/mnt`, ...argv]);

  const disks = {
    full: { mend: () => ["rm", `${hosts.state}/ballast`], spoil: undefined },
    "read-only": {
      mend: () => ["mount", "-o", "remount,rw", hosts.state],
      spoil: () => ["mount", "-o", "remount,ro", hosts.state],
    },
  } as const;
  for (const [disk, { mend, spoil }] of Object.entries(disks)) {
    it(`puts no fault in force while its disk is ${disk}, says why, and does once it can`, async () => {
      const agent = await hosts.startAgent({ disk: disk as keyof typeof disks });
      const clean = await agent.residue();
      for (const name of ["partition both", "delay to"]) {
        const { faults, changes } = await agent.apply(crashCases[name] ?? assert.fail());
        assert.deepEqual([faults[0]?.state, faults[0]?.reason], [FaultState.FAILED, "ApplyFailed"]);
        assert.match(faults[0]?.message ?? "", /^The journal \S+ cannot be written: /);
        await probe.sees();
        assert.deepEqual(
          changes.filter(({ what }) => /^(ipset|tc|ip6?tables)/.test(what)),
          [],
          "something was changed",
        );
      }
      await agent.apply([]);
      assert.equal(await agent.residue(), clean);

      await agent.apply(crashCases["loss to"] ?? assert.fail());
      await inside(agent, ...mend());
      while ((await agent.report())[0]?.state !== FaultState.ACTIVE) await sleep(50);
      await probe.sees("to");
      if (spoil) await inside(agent, ...spoil());
      await agent.apply([]);
      await probe.sees();
      assert.equal(withoutFiles(await agent.residue()), withoutFiles(clean));
    });
  }
});
