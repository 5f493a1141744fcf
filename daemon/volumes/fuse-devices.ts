import { spawn } from "node:child_process";
import { constants, openSync } from "node:fs";
import { Descriptor, type DescriptorSockets } from "../../agent/descriptors.ts";
import { LineReader } from "../../agent/descriptor-lines.ts";
import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";

/** Opens /dev/fuse: each volume needs it opened anew. */
export interface FuseDevices {
  /** The caller closes it. Throws where this node does not let us, with what to do. */
  take(): Promise<Descriptor>;
  /** Has some at hand soon, where that takes a helper. */
  prepare(): void;
  close(): void;
}

export interface FuseDevicesOptions {
  /** The entry point of this program. */
  readonly main: string;
  readonly sockets: DescriptorSockets;
  readonly nodeProcess: number;
  readonly hostCgroups: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** How many a helper opens at once, and when the next one is started. */
export const OPENED_AT_ONCE = 16;
const FEWEST = 4;
const HELPER_TIMEOUT_MS = 10_000;
/** Where the helper finds the socket. */
export const HELPER_SOCKET = 3;
/** What a container's device group answers. */
const isRefused = (error: unknown): boolean =>
  error instanceof Error && "code" in error && (error.code === "EPERM" || error.code === "EACCES");

/**
 * Opens /dev/fuse as this process where its group may, which that of a container that is not privileged may not. There, a helper that leaves for the
 * group of process 1 opens some in advance, so that no pod waits for one.
 */
export function createFuseDevices({ main, sockets, nodeProcess, hostCgroups, clock, log }: FuseDevicesOptions): FuseDevices {
  const device = `/proc/${nodeProcess}/root/dev/fuse`;
  const stock: Descriptor[] = [];
  let filling: Promise<void> | undefined;
  let isClosed = false;

  async function fetch(): Promise<void> {
    const [ours, theirs] = sockets.pair();
    const deadline = new AbortController();
    const cancel = clock.after(HELPER_TIMEOUT_MS, () => deadline.abort(new Error("The helper that opens /dev/fuse did not answer.")));
    const reader = new LineReader(sockets, { socket: ours.number, parse: parseAnswer, descriptorsWith: (answer) => answer.opened });
    const child = spawn(process.execPath, ["--max-semi-space-size=1", main, "open-fuse"], {
      stdio: ["ignore", "inherit", "inherit", theirs.number],
      env: { SQUALL_DEVICE: device, SQUALL_HOST_CGROUPS: hostCgroups, SQUALL_NODE_PROCESS: String(nodeProcess) },
    });
    child.on("error", (error) => deadline.abort(error));
    theirs.close();
    try {
      const line = await reader.next(deadline.signal);
      if (line === undefined) throw new Error("The helper that opens /dev/fuse ended early; its output is in the log of the daemon.");
      if (line.said.opened === 0) throw new Error(line.said.message);
      if (isClosed) for (const descriptor of line.descriptors) descriptor.close();
      else stock.push(...line.descriptors);
    } finally {
      cancel();
      reader.close();
      ours.close();
      child.kill("SIGKILL");
    }
  }

  const fill = (): Promise<void> => (filling ??= fetch().finally(() => (filling = undefined)));

  function openHere(): Descriptor | undefined {
    try {
      return new Descriptor(openSync(device, constants.O_RDWR));
    } catch (error) {
      if (isRefused(error)) return undefined;
      throw error;
    }
  }

  const fillLater = (): void => void fill().catch((error: unknown) => log.warn({ err: error }, "/dev/fuse could not be opened in advance"));

  return {
    prepare() {
      try {
        const opened = openHere();
        if (opened === undefined) fillLater();
        else opened.close();
      } catch (error) {
        log.warn({ err: error }, "volumes cannot be mounted on this node");
      }
    },
    async take() {
      const opened = openHere();
      if (opened !== undefined) return opened;
      if (stock.length === 0) await fill();
      const found = stock.shift();
      if (found === undefined) throw new Error("/dev/fuse was not opened.");
      if (stock.length < FEWEST) fillLater();
      return found;
    },
    close() {
      isClosed = true;
      for (const descriptor of stock.splice(0)) descriptor.close();
    },
  };
}

export interface HelperAnswer {
  readonly opened: number;
  /** Why none was opened. */
  readonly message: string;
}

function parseAnswer(line: string): HelperAnswer {
  const raw: unknown = JSON.parse(line);
  if (typeof raw !== "object" || raw === null || !("opened" in raw) || !("message" in raw))
    throw new Error("The helper said nothing of use.");
  return { opened: Number(raw.opened), message: String(raw.message) };
}
