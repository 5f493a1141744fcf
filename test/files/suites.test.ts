import assert from "node:assert/strict";
import { kernelExceptions, libfuseExceptions } from "./exceptions.ts";
import { openStage, type Way, watchAll } from "./support/stage.ts";
import { type Findings, type Suite, suites } from "./support/suites.ts";

const folders: Readonly<Record<string, string>> = { "a disk": "/var/tmp", memory: "/dev/shm" };
const ways: Readonly<Record<string, Way>> = {
  "no fault": { by: "squall" },
  "a fault in force that hits nothing": { by: "squall", rules: watchAll },
  ...(process.arch === "x64" && {
    "libfuse and no fault": { by: "libfuse" },
    "libfuse and a fault in force that hits nothing": { by: "libfuse", rules: watchAll },
  }),
};

async function runOn(suite: Suite, way: Way, under: string): Promise<Findings> {
  const stage = await openStage(way, under);
  try {
    return await suite.run(stage.path);
  } finally {
    await stage.close();
  }
}

/** What passes, or comes out, on a plain folder does so on a served one. */
for (const suite of suites)
  for (const [where, under] of Object.entries(folders))
    describe(`${suite.name} on ${where}`, function () {
      this.timeout(600_000);
      let plain: Findings;

      before(async () => {
        await suite.prepare();
        plain = await runOn(suite, { by: "nobody" }, under);
        assert.ok(plain.size > 0, `${suite.name} told nothing about any of its cases.`);
      });

      for (const [force, way] of Object.entries(ways))
        it(`finds with ${force} what it finds on the plain folder`, async () => {
          const served = await runOn(suite, way, under);
          const exceptions = way.by === "libfuse" ? libfuseExceptions : kernelExceptions;
          const named = (name: string): string => `${suite.name} on ${where}: ${name}`;
          const differing = [...new Set([...plain.keys(), ...served.keys()])].filter((name) => plain.get(name) !== served.get(name));
          const unexplained = differing.filter((name) => !(named(name) in exceptions));
          assert.deepEqual(
            unexplained.map((name) => ({ name, plain: plain.get(name), served: served.get(name) })),
            [],
          );
          const stale = [...plain.keys()].filter((name) => named(name) in exceptions && !differing.includes(name));
          assert.deepEqual(stale, [], "These pass after all: take them out of exceptions.ts.");
        });
    });
