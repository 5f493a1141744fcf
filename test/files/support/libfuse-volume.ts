import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../../common/clock.ts";
import { createLog } from "../../../common/log.ts";
import type { IoFault } from "../../../proto/gen/faults.ts";
import { openLibfuseKeeper } from "../../../sidecar/files/libfuse/libfuse-keeper.ts";
import type { Counts } from "../../../sidecar/files/server-messages.ts";
import { servedFaults } from "./served-faults.ts";

const MAIN = join(import.meta.dirname, "../../../sidecar/main.ts");

/** A folder of this machine that libfuse serves at `path`, as the sidecar has it done; its files as they are on the disk are at `plain`. */
export class LibfuseVolume {
  readonly path: string;
  readonly plain: string;
  readonly #base: string;
  readonly #keeper: ReturnType<typeof openLibfuseKeeper>;

  private constructor(base: string, hasReadOnlyMount: boolean) {
    this.#base = base;
    chmodSync(base, 0o755); // any user may come to it
    this.plain = join(base, "plain");
    this.path = join(base, "data");
    mkdirSync(this.plain);
    mkdirSync(this.path);
    execFileSync("mount", ["--bind", this.plain, this.path]);
    execFileSync("mount", ["--make-shared", this.path]); // mountPropagation: Bidirectional
    this.#keeper = openLibfuseKeeper([{ name: "data", source: "emptyDir", hasReadOnlyMount }], {
      main: MAIN,
      environment: process.env,
      folder: base,
      clock: systemClock,
      log: createLog({ process: "test", level: "error" }),
    });
  }

  /** `under`: where the folder is made, which decides the file system it is on. */
  static async open(under = "/var/tmp", { hasReadOnlyMount = false } = {}): Promise<LibfuseVolume> {
    const volume = new LibfuseVolume(mkdtempSync(join(under, "squall-libfuse-")), hasReadOnlyMount);
    await volume.untilServing();
    return volume;
  }

  get isServing(): boolean {
    return this.#keeper.state().get("data")?.is === "serving";
  }

  /** Of the server. */
  get pid(): number {
    const children = readFileSync(`/proc/self/task/${process.pid}/children`, "latin1").trim().split(" ");
    const pid = children.find(
      (child) =>
        readFileSync(`/proc/${child}/cmdline`, "latin1").includes("serve-libfuse") && readlinkSync(`/proc/${child}/fd/3`) === this.path,
    );
    if (pid === undefined) throw new Error(`Nobody serves ${this.path}.`);
    return Number(pid);
  }

  /** Kernel's view: what is mounted on the folder, the topmost last. */
  get mounts(): readonly string[] {
    const lines = execFileSync("cat", ["/proc/self/mounts"], { encoding: "utf8" }).split("\n");
    return lines.flatMap((line) => (line.split(" ")[1] === this.path ? [line.split(" ")[0] ?? ""] : []));
  }

  untilServing(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("The volume was not served within 20 s.")), 20_000);
      const look = (): void => {
        if (!this.isServing) return;
        clearTimeout(timer);
        resolve();
      };
      this.#keeper.onChange(look);
      look();
    });
  }

  untilLost(): Promise<void> {
    return new Promise((resolve) => this.#keeper.onChange(() => (this.isServing ? undefined : resolve())));
  }

  /** SIGKILL; the keeper starts another one. */
  async killServer(): Promise<void> {
    const lost = this.untilLost();
    process.kill(this.pid, "SIGKILL");
    await lost;
    await this.untilServing();
  }

  rule(faults: Readonly<Record<string, Partial<IoFault>>>, remainingMs = 600_000): Promise<void> {
    return this.#keeper.rule("data", servedFaults(faults, remainingMs));
  }

  count(): Promise<readonly Counts[]> {
    return this.#keeper.count("data");
  }

  /** What the sidecar does when the pod ends; the folder stays to be looked at. */
  async stop(): Promise<void> {
    await this.#keeper.close();
  }

  async close(): Promise<void> {
    await this.stop();
    execFileSync("umount", ["-l", this.path]);
    rmSync(this.#base, { recursive: true, force: true });
  }
}
