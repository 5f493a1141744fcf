import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { chmodSync, closeSync, constants, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createSharedMemory } from "../../../agent/shared-memory.ts";
import type { IoFault } from "../../../proto/gen/faults.ts";
import { Notifier } from "../../../sidecar/files/notifier.ts";
import type { Counts, FromServer, ServedFault, ToServer } from "../../../sidecar/files/server-messages.ts";
import { servedFaults } from "./served-faults.ts";

const MAIN = join(import.meta.dirname, "../../../sidecar/main.ts");

/** A folder of this machine behind FUSE, served by a real server process; its files are at `path`, and as they are on the disk at `plain`. */
export class Volume {
  readonly path: string;
  readonly plain: string;
  readonly notifier: Notifier;
  readonly #fuse: number;
  readonly #folder: number;
  readonly #requests = createSharedMemory("squall-requests");
  #server: ChildProcess;
  #version = 0;
  #init: string | undefined;
  #faults: readonly ServedFault[] = [];
  readonly #hearers = new Set<(message: FromServer) => void>();

  readonly #main: string;

  private constructor(path: string, plain: string, fuse: number, folder: number, main: string) {
    this.#main = main;
    this.path = path;
    this.plain = plain;
    this.#fuse = fuse;
    this.#folder = folder;
    this.notifier = new Notifier(fuse);
    this.#server = this.#start();
  }

  /** `under`: where the folder is made, which decides the file system it is on; `main`: the sidecar's program. */
  static async open(under = tmpdir(), main = MAIN): Promise<Volume> {
    const base = mkdtempSync(join(under, "squall-volume-"));
    chmodSync(base, 0o755); // other users come through here
    execFileSync("mkdir", [join(base, "plain"), join(base, "mounted")]);
    const plain = join(base, "plain");
    const path = join(base, "mounted");
    const folder = openSync(plain, constants.O_RDONLY | constants.O_DIRECTORY);
    const fuse = openSync("/dev/fuse", constants.O_RDWR);
    const options = "fd=3,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions";
    // mount(8) looks at what it has mounted, which waits for the server, which cannot read before there is a mount.
    const mounting = spawn("mount", ["-i", "-t", "fuse", "-o", options, "squall-test", path], {
      stdio: ["ignore", "inherit", "inherit", fuse],
    });
    const hasEnded = new Promise((resolve) => mounting.once("exit", resolve));
    while (!readFileSync("/proc/self/mounts", "latin1").includes(` ${path} fuse `)) await sleep(5);
    const volume = new Volume(path, plain, fuse, folder, main);
    await Promise.all([volume.#next("serving"), hasEnded]);
    return volume;
  }

  get pid(): number {
    return this.#server.pid ?? 0;
  }

  #start(): ChildProcess {
    const server = spawn(process.execPath, ["--max-semi-space-size=1", "--no-node-snapshot", this.#main, "serve-files"], {
      stdio: ["ignore", "inherit", "inherit", this.#fuse, this.#folder, this.#requests.number, "ipc"],
      serialization: "advanced",
    });
    server.on("message", (message: FromServer) => {
      if (message.is === "serving") this.#init = message.init;
      if (message.is === "notify") void this.#notify(message, server);
      for (const hear of this.#hearers) hear(message);
    });
    this.#say({ do: "serve", init: this.#init, isShared: false }, server);
    if (this.#faults.length > 0) this.#say({ do: "rule", version: this.#version, faults: this.#faults }, server);
    return server;
  }

  /** As the sidecar does. */
  async #notify({ messages, isAwaited }: Extract<FromServer, { is: "notify" }>, server: ChildProcess): Promise<void> {
    await this.notifier.send(messages, { isAwaited });
    if (isAwaited && server.connected) server.send({ do: "note-sent" }, () => undefined);
  }

  /** SIGKILL, and another one in its place. */
  async killServer(): Promise<void> {
    const ended = new Promise((resolve) => this.#server.once("exit", resolve));
    this.#server.kill("SIGKILL");
    await ended;
    const serving = this.#next("serving");
    this.#server = this.#start();
    await serving;
  }

  async rule(faults: Readonly<Record<string, Partial<IoFault>>>, remainingMs = 600_000): Promise<void> {
    this.#version += 1;
    this.#faults = servedFaults(faults, remainingMs);
    const ruled = this.#next("ruled", ({ version }) => version === this.#version);
    this.#say({ do: "rule", version: this.#version, faults: this.#faults });
    await ruled;
  }

  async count(): Promise<readonly Counts[]> {
    const counted = this.#next("counted");
    this.#say({ do: "count" });
    return (await counted).faults;
  }

  async close(): Promise<void> {
    execFileSync("umount", ["-f", "-l", this.path]); // -f: whoever waits for an answer gets an error
    const ended = this.#server.exitCode === null ? new Promise((resolve) => this.#server.once("exit", resolve)) : undefined;
    this.#server.kill("SIGKILL");
    await ended;
    await this.notifier.close();
    closeSync(this.#fuse);
    closeSync(this.#folder);
    this.#requests.close();
    rmSync(join(this.path, ".."), { recursive: true, force: true });
  }

  #say(message: ToServer, server = this.#server): void {
    server.send(message);
  }

  #next<Is extends FromServer["is"]>(
    is: Is,
    isMeant: (message: Extract<FromServer, { is: Is }>) => boolean = () => true,
  ): Promise<Extract<FromServer, { is: Is }>> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`The server did not say ${is} within 20 s.`)), 20_000);
      const hear = (message: FromServer): void => {
        if (!isMessage(message, is) || !isMeant(message)) return;
        clearTimeout(timer);
        this.#hearers.delete(hear);
        resolve(message);
      };
      this.#hearers.add(hear);
    });
  }
}

const isMessage = <Is extends FromServer["is"]>(message: FromServer, is: Is): message is Extract<FromServer, { is: Is }> =>
  message.is === is;
