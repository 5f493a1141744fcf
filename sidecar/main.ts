/** The sidecar's process. `sidecar.mjs` runs it, `sidecar.mjs wait` is the postStart hook, `sidecar.mjs dump` prints the pod's kernel state, `sidecar.mjs explain` what faults compile to. */

const [command = "run"] = process.argv.slice(2);

// Each command imports what it needs: the hook has 2 s in all and must not load a gRPC stack.
switch (command) {
  case "wait": {
    const { waitForSidecar } = await import("./wait.ts");
    await waitForSidecar();
    process.exit(0);
    break;
  }
  case "dump": {
    const [{ dumpNetwork }, { findPrograms }] = await Promise.all([import("../agent/network/dump.ts"), import("../agent/programs.ts")]);
    process.stdout.write(await dumpNetwork(findPrograms()));
    break;
  }
  case "explain": {
    const [{ printExplanation }, { findPrograms }] = await Promise.all([import("./explain.ts"), import("../agent/programs.ts")]);
    process.stdout.write(await printExplanation(findPrograms()));
    break;
  }
  case "run":
    await main();
    break;
  default:
    process.stderr.write(`Unknown command ${JSON.stringify(command)}. There are: run, wait, dump, explain.\n`);
    process.exit(2);
}

async function main(): Promise<void> {
  const [{ readSidecarConfig }, { ConfigError }, { createLog }, { systemClock }, { runSidecar }] = await Promise.all([
    import("./config.ts"),
    import("../common/config.ts"),
    import("../common/log.ts"),
    import("../common/clock.ts"),
    import("./run.ts"),
  ]);
  let config;
  try {
    config = readSidecarConfig(process.env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(2);
  }
  const log = createLog({ process: "sidecar", level: config.logLevel });
  // The clock's timers keep no process alive: without this one, the sidecar would end while it waits to try enrolment again.
  setInterval(() => undefined, 2 ** 30);
  // While it waits to be enrolled nothing else keeps the process alive: the clock's timers do not.
  setInterval(() => undefined, 60_000);
  const ending = new AbortController();
  const starting = runSidecar(config, { clock: systemClock, log, signal: ending.signal });
  process.once("SIGTERM", () => {
    log.info({}, "sidecar ends");
    ending.abort(new Error("The pod ends."));
    starting
      .then((sidecar) => sidecar.close())
      .catch((error: unknown) => log.debug({ err: error }, "ended before it was ready"))
      .finally(() => process.exit(0));
  });
  await starting.catch((error: unknown) => {
    if (ending.signal.aborted) return;
    log.error({ err: error }, "the sidecar cannot run");
    process.exit(1);
  });
}
