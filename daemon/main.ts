import { systemClock } from "../common/clock.ts";
import { ConfigError } from "../common/config.ts";
import { createLog } from "../common/log.ts";

/**
 * The daemon's process, one on each node. `daemon.mjs` runs it; `daemon.mjs pod-network` is what it starts in the network namespace of a pod, `daemon.mjs open-fuse` where its own
 * group may not open /dev/fuse.
 */

const [command = "run"] = process.argv.slice(2);

// Each command imports what it needs: there may be a process for each faulted pod.
switch (command) {
  case "run":
    await main();
    break;
  case "pod-network":
    await joinPod();
    break;
  case "open-fuse": {
    const { openFuse } = await import("./volumes/open-fuse.ts");
    await openFuse(process.env);
    process.exit(0);
    break;
  }
  default:
    process.stderr.write(`Unknown command ${JSON.stringify(command)}. There are: run, pod-network, open-fuse.\n`);
    process.exit(2);
}

async function main(): Promise<void> {
  const [{ readDaemonConfig }, { VERSION }, { runDaemon }] = await Promise.all([
    import("./config.ts"),
    import("../common/version.ts"),
    import("./run.ts"),
  ]);
  const config = readOrExit(() => readDaemonConfig(process.env));
  const log = createLog({ process: "daemon", level: config.logLevel });
  log.info({ ...config, version: VERSION }, "daemon starts");
  // The clock's timers keep no process alive.
  setInterval(() => undefined, 2 ** 30);
  const ending = new AbortController();
  const starting = runDaemon(config, { main: process.argv[1] ?? "", clock: systemClock, log, signal: ending.signal });
  process.once("SIGTERM", () => {
    log.info({}, "daemon ends");
    ending.abort(new Error("The daemon ends."));
    starting
      .then((daemon) => daemon.close())
      .catch((error: unknown) => log.warn({ err: error }, "the end was not clean"))
      .finally(() => process.exit(0));
  });
  await starting.catch((error: unknown) => {
    if (ending.signal.aborted) return;
    log.error({ err: error }, "the daemon cannot run");
    process.exit(1);
  });
}

/** Ends once the daemon closed the channel, or is no more, and everything is taken back. */
async function joinPod(): Promise<void> {
  const [{ readPodNetworkConfig }, { servePodNetwork }] = await Promise.all([
    import("./network/config.ts"),
    import("./network/pod-network.ts"),
  ]);
  const { logLevel, podUid } = readOrExit(() => readPodNetworkConfig(process.env));
  const log = createLog({ process: "pod-network", level: logLevel }).child({ uid: podUid });
  if (process.send === undefined) {
    process.stderr.write("pod-network is started by the daemon, which orders what to do.\n");
    process.exit(2);
  }
  // It orders nothing else of a process than to go on; the end of the channel is the way to end this one.
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => undefined);
  await servePodNetwork(
    {
      // Where it is closed there is nobody left to tell.
      send: (message) => void process.send?.(message, undefined, undefined, () => undefined),
      onOrder: (callback) => void process.on("message", callback),
      onClosed: (callback) => void process.once("disconnect", callback),
    },
    { clock: systemClock, log },
  );
  process.exit(0);
}

function readOrExit<C>(read: () => C): C {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(2);
  }
}
