import { execFile } from "node:child_process";
import { readdir, readFile, readlink } from "node:fs/promises";
import { promisify } from "node:util";
import { dumpNetwork } from "../../../agent/network/dump.ts";
import type { Programs } from "../../../agent/programs.ts";

const run = promisify(execFile);

/** What the canonical dump leaves out, as what a fault of ours could only leave by mistake. `DEVICE` stands for each device. */
const more: readonly (readonly [title: string, program: string, ...parameters: string[]])[] = [
  ["classes", "tc", "class", "show", "dev", "DEVICE"],
  ["filters", "tc", "filter", "show", "dev", "DEVICE"],
  ["filters of what arrives", "tc", "filter", "show", "dev", "DEVICE", "ingress"],
  ["links", "ip", "-br", "link", "show"],
  ["routing rules of IPv6", "ip", "-6", "rule", "show"],
  ["listeners and raw sockets", "ss", "-H", "-n", "-l", "-t", "-u", "-w", "-p"],
  ["packet sockets", "ss", "-H", "-n", "-0", "-p"],
];

/**
 * Everything of this network namespace, of this process and of the folder of its state that a fault could leave behind, as text that is the same
 * whenever all that is. Queues of the engine, open files and timers included. Runs inside the namespace.
 */
export async function readResidue(programs: Programs, folder: string): Promise<string> {
  const devices = (await readFile("/proc/self/net/dev", "utf8")).split("\n").flatMap((line) => /^\s*(\S+):/.exec(line)?.[1] ?? []);
  const parts = [await dumpNetwork(programs)];
  for (const [title, program, ...parameters] of more) {
    const each = parameters.includes("DEVICE") ? devices : [""];
    const texts = await Promise.all(
      each.map((device) =>
        run(
          program,
          parameters.map((parameter) => (parameter === "DEVICE" ? device : parameter)),
        ).then(({ stdout }) => stdout),
      ),
    );
    parts.push(
      section(
        title,
        texts
          .join("")
          .replace(/pid=\d+/g, "pid=N")
          .replace(/fd=\d+/g, "fd=N"),
      ),
    );
  }
  parts.push(section("queues", await readFile("/proc/self/net/netfilter/nfnetlink_queue", "utf8").catch(() => ""))); // not before the first queue
  parts.push(section("processes", await processesHere()));
  parts.push(section("files", (await readdir(folder)).toSorted().join("\n")));
  parts.push(section("descriptors", await openFiles()));
  // pipes are those of the programs above, on their way out
  const handles = process.getActiveResourcesInfo().filter((name) => name !== "PipeWrap");
  parts.push(section("timers and handles", handles.toSorted().join("\n")));
  return parts.join("");
}

const section = (title: string, text: string): string => (text.trim() === "" ? "" : `== ${title}\n${text.trimEnd()}\n`);

/** Names of all processes in this network namespace. */
async function processesHere(): Promise<string> {
  const here = await readlink("/proc/self/ns/net");
  const names = await Promise.all(
    (await readdir("/proc")).map(async (pid) => {
      const namespace = /^\d+$/.test(pid) ? await readlink(`/proc/${pid}/ns/net`).catch(() => "") : ""; // it has ended meanwhile
      return namespace === here ? await readFile(`/proc/${pid}/comm`, "utf8").catch(() => "") : "";
    }),
  );
  return names.toSorted().join("");
}

/** Kinds of the open files of this process, without numbers. */
async function openFiles(): Promise<string> {
  const links = await Promise.all((await readdir("/proc/self/fd")).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => undefined))); // the one that lists the folder
  return links
    .flatMap((link) => link ?? [])
    .filter((link) => link !== "/sys/devices/system/cpu/online") // the C library looks at it for a moment when it makes room for a thread
    .map((link) => link.replace(/\d+/g, "N"))
    .toSorted()
    .join("\n");
}
