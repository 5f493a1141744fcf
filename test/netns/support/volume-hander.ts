import { execFileSync } from "node:child_process";
import { constants, mkdirSync, openSync } from "node:fs";
import { LineReader, sendLine } from "../../../agent/descriptor-lines.ts";
import { closeAll, Descriptor, openDescriptorSockets } from "../../../agent/descriptors.ts";
import { createSharedMemory } from "../../../agent/shared-memory.ts";
import { descriptorsWith, parseSidecarLine, renderLine } from "../../../agent/hand-over.ts";

/**
 * Stands for the node's daemon: mounts a folder of this mount namespace (`/var/plain`, seen at `/var/data`) by FUSE and hands it to the sidecar that
 * listens there. Writes a line once that is done, and keeps the connection.
 */
const [socketPath = "", name = ""] = process.argv.slice(2);
for (const folder of ["/var/plain", "/var/data"]) mkdirSync(folder, { recursive: true });
const folder = openSync("/var/plain", constants.O_RDONLY | constants.O_DIRECTORY);
const fuse = openSync("/dev/fuse", constants.O_RDWR);
const options = "fd=3,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions";
const sockets = openDescriptorSockets();
const socket = sockets.connect(socketPath);
const { signal } = new AbortController();
const hello = await new LineReader(sockets, { socket: socket.number, parse: parseSidecarLine, descriptorsWith }).next(signal);
closeAll(hello?.descriptors ?? []);
execFileSync("mount", ["-i", "-t", "fuse", "-o", options, "squall-test", "/var/data"], { stdio: ["ignore", "inherit", "inherit", fuse] });
await sendLine(sockets, {
  socket: socket.number,
  line: renderLine({ say: "hand", name, init: undefined }),
  descriptors: [new Descriptor(fuse), new Descriptor(folder), createSharedMemory("squall-requests")],
  signal,
});
process.stdout.write(`${JSON.stringify(hello?.said)}\n`);
setInterval(() => undefined, 2 ** 30);
