// Runs inside pods of the stories (mounted from a ConfigMap, types stripped by Node): starts programs that print what they take for the time, five
// times a second, below a root of their own, and tells over HTTP how far the newest of each is from the time that it is asked with.
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { createInterface } from "node:readline";

const [root = "/", listed = "[]", port = "8080"] = process.argv.slice(2);
const programs = JSON.parse(listed) as readonly { readonly name: string; readonly argv: readonly string[] }[];

/** The line that each printed last, and when by this process's clock that never is off: that of its own system, asked past the vDSO. */
const newest = new Map<string, { readonly line: string; readonly atMs: number }>();

for (const { name, argv } of programs) {
  const child = spawn("chroot", [root, ...argv], { stdio: ["ignore", "pipe", "inherit"] });
  createInterface({ input: child.stdout }).on("line", (line) => newest.set(name, { line, atMs: performance.now() }));
  child.on("exit", (code, signal) => newest.set(name, { line: `ended ${code ?? signal}`, atMs: performance.now() }));
}

createServer((request, response) => {
  const nowMs = Number(new URL(request.url ?? "/", "http://clocks").searchParams.get("now"));
  const offsets = [...newest].map(([name, { line, atMs }]) => {
    const ageMs = performance.now() - atMs;
    return [name, line.split(" ").map((text) => Math.round((Number(text) + ageMs - nowMs) / 1000))];
  });
  response.end(JSON.stringify(Object.fromEntries(offsets)));
}).listen(Number(port));
