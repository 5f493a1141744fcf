/**
 * The sidecar's process. `sidecar.mjs` runs it, `sidecar.mjs wait` is the postStart hook, `sidecar.mjs dump` prints the pod's kernel state,
 * `sidecar.mjs explain` what faults compile to. `sidecar.mjs enrol`, `serve-files` and `serve-libfuse` are for the sidecar itself, `sidecar.mjs compile` for the making of the image.
 */

const [command = "run"] = process.argv.slice(2);

// Each command imports what it needs, and the process that stays imports no TLS and no gRPC before somebody calls.
switch (command) {
  case "wait": {
    const [{ waitForSidecar }, { sidecarVariables }] = await Promise.all([import("./wait.ts"), import("../common/sidecar-layout.ts")]);
    await waitForSidecar({ hasVolumes: process.env[sidecarVariables.volumes] !== undefined });
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
  case "enrol": {
    // The clock's timers keep no process alive while it waits between two attempts.
    setInterval(() => undefined, 2 ** 30);
    const { enrolForSidecar } = await import("./enrol-command.ts");
    await enrolForSidecar();
    process.exit(0);
    break;
  }
  case "serve-files": {
    const { serveFiles } = await import("./files/serve-files.ts");
    serveFiles({
      openLog: async () => (await import("../common/log.ts")).createLog({ process: "sidecar-files", level: "info" }),
      exit: (code) => process.exit(code),
    });
    break;
  }
  case "serve-libfuse": {
    const [{ serveLibfuse }, { createLog }] = await Promise.all([import("./files/libfuse/serve-libfuse.ts"), import("../common/log.ts")]);
    const [, volume = ""] = process.argv.slice(2);
    const log = createLog({ process: "sidecar-files", level: "info" });
    serveLibfuse({ volume, log, exit: (code) => process.exit(code) });
    break;
  }
  case "compile":
    // Node keeps the compiled code of what was loaded, see NODE_COMPILE_CACHE: a first call is answered sooner.
    await Promise.all([
      import("./run.ts"),
      import("./work.ts"),
      import("./enrol-command.ts"),
      import("./files/serve-files.ts"),
      import("./files/open-keeper.ts"),
      import("./files/libfuse/serve-libfuse.ts"),
      import("./files/libfuse/libfuse-keeper.ts"),
    ]);
    process.exit(0);
    break;
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
  // Two threads of each volume may have to wait for its server, see files/notifier.ts. libuv reads this when it needs the first one.
  process.env["UV_THREADPOOL_SIZE"] = String(4 + 2 * config.volumes.length);
  const log = createLog({ process: "sidecar", level: config.logLevel });
  // The clock's timers keep no process alive: without this one, the sidecar would end while it waits to try enrolment again.
  setInterval(() => undefined, 2 ** 30);
  const ending = new AbortController();
  const program = process.argv[1] ?? "";
  const starting = runSidecar(config, {
    main: program,
    clock: systemClock,
    log,
    signal: ending.signal,
    openServers: async (volumes) => {
      if (config.filesDriver === "libfuse") {
        const { openLibfuseKeeper } = await import("./files/libfuse/libfuse-keeper.ts");
        return {
          servers: openLibfuseKeeper(volumes, { main: program, environment: process.env, clock: systemClock, log }),
          naming: undefined,
        };
      }
      const { openKeeper } = await import("./files/open-keeper.ts");
      return openKeeper(volumes, { main: program, environment: process.env, podUid: config.podUid, clock: systemClock, log });
    },
    // There with --expose-gc, as the injector writes it. A plain collection keeps the pages that it has emptied.
    collectGarbage: () => globalThis.gc?.({ type: "major", execution: "sync", flavor: "last-resort" }),
  });
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
