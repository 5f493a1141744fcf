// Runs inside pods of the stories (mounted from a ConfigMap, types stripped by Node): a server that echoes and keeps
// sampling, and a program beside it that measures from where it runs, on demand. Its commands and answers are lines of JSON.
import { createHash } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { createServer as createHttpServer, request as httpRequest } from "node:http";
import { connect, createServer, isIPv6 } from "node:net";
import { createInterface } from "node:readline";

const CONTROL_PORT = 8080;
const UDP_PORT = 7001;
const UPLOAD_PORT = 7002;

/** One probe: when it left (ms since 1970), and its round trip in ms; -1 while no answer came, -2 when the send failed. */
type Sample = [sentAt: number, roundTripMs: number];

/** A socket for datagrams to that address; names are looked up as IPv4. */
function createSocketFor(host: string): Socket {
  return createSocket(isIPv6(host) ? "udp6" : "udp4");
}

function serve(): void {
  const samplers = new Map<string, Sample[]>();

  for (const type of ["udp4", "udp6"] as const) {
    const echo = createSocket({ type, ipv6Only: type === "udp6" });
    echo.on("message", (message, from) => echo.send(message, from.port, from.address, () => undefined));
    echo.on("error", () => echo.close()); // a pod without IPv6
    echo.bind(UDP_PORT);
  }

  // Reads until the sender ends its side, then answers with the SHA-256 of what came.
  createServer({ allowHalfOpen: true }, (socket) => {
    const hash = createHash("sha256");
    socket.on("data", (chunk) => hash.update(chunk));
    socket.on("end", () => socket.end(hash.digest("hex")));
    socket.on("error", () => socket.destroy());
  }).listen(UPLOAD_PORT);

  createHttpServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://peer");
    const host = url.searchParams.get("host") ?? "";
    if (url.pathname === "/sample") {
      const samples: Sample[] = [];
      samplers.set(host, samples);
      sampleForEver(host, Number(url.searchParams.get("everyMs")), samples);
      response.end("{}");
    } else if (url.pathname === "/samples") {
      response.end(JSON.stringify(samplers.get(host) ?? []));
    } else {
      response.end("hello");
    }
  }).listen(CONTROL_PORT);
}

function sampleForEver(host: string, everyMs: number, samples: Sample[]): void {
  const socket = createSocketFor(host);
  socket.on("message", (message) => {
    const sample = samples[message.readUInt32BE(0)];
    if (sample && sample[1] === -1) sample[1] = Date.now() - sample[0];
  });
  setInterval(() => {
    const payload = Buffer.alloc(8);
    payload.writeUInt32BE(samples.length);
    const sample: Sample = [Date.now(), -1];
    samples.push(sample);
    socket.send(payload, UDP_PORT, host, (error) => {
      if (error) sample[1] = -2;
    });
  }, everyMs);
}

async function udp(host: string, count: number, everyMs: number): Promise<unknown> {
  const socket = createSocketFor(host);
  const sentAt: number[] = [];
  const roundTrips: number[] = [];
  let errors = 0;
  socket.on("message", (message) => roundTrips.push(performance.now() - (sentAt[message.readUInt32BE(0)] ?? 0)));
  for (let index = 0; index < count; index++) {
    const payload = Buffer.alloc(64);
    payload.writeUInt32BE(index);
    sentAt.push(performance.now());
    socket.send(payload, UDP_PORT, host, (error) => {
      if (error) errors++;
    });
    if (everyMs > 0 || index % 5 === 4) await new Promise((resolve) => setTimeout(resolve, Math.max(everyMs, 1)));
  }
  await new Promise((resolve) => setTimeout(resolve, 1500));
  socket.close();
  return { sent: count, received: roundTrips.length, errors, roundTrips: roundTrips.slice(0, 500) };
}

/**
 * Some datagrams to each host at once: errors of send, and the quickest round trip in ms, null without an answer. A fault slows every
 * datagram down, a busy machine only some.
 */
async function survey(hosts: readonly string[]): Promise<unknown> {
  return await Promise.all(
    hosts.map(async (host) => {
      // Looked up once: else each datagram would wait for an answer of the DNS.
      const { address, family } = await lookup(host);
      const socket = createSocket(family === 6 ? "udp6" : "udp4");
      const sentAt: number[] = [];
      const roundTrips: number[] = [];
      const errors: string[] = [];
      socket.on("message", (message) => roundTrips.push(performance.now() - (sentAt[message.readUInt32BE(0)] ?? 0)));
      for (let index = 0; index < 9; index++) {
        const payload = Buffer.alloc(64);
        payload.writeUInt32BE(index);
        sentAt.push(performance.now());
        socket.send(payload, UDP_PORT, address, (error) => {
          if (error) errors.push(error.message);
        });
        await new Promise((resolve) => setTimeout(resolve, 15));
      }
      await new Promise((resolve) => setTimeout(resolve, 700));
      socket.close();
      return { errors, roundTripMs: roundTrips.length === 0 ? null : Math.min(...roundTrips) };
    }),
  );
}

async function tcp(host: string, port: number, count: number): Promise<unknown> {
  const connects: number[] = [];
  const failures: string[] = [];
  for (let index = 0; index < count; index++) {
    const started = performance.now();
    await new Promise<void>((resolve) => {
      const socket = connect({ host, port, timeout: 2000 }, () => {
        connects.push(performance.now() - started);
        socket.destroy();
        resolve();
      });
      const fail = (why: string) => () => {
        failures.push(why);
        socket.destroy();
        resolve();
      };
      socket.on("timeout", fail("timeout"));
      socket.on("error", (error: NodeJS.ErrnoException) => fail(error.code ?? error.message)());
    });
  }
  return { connects, failures };
}

async function upload(host: string, bytes: number): Promise<unknown> {
  const hash = createHash("sha256");
  const started = performance.now();
  const answer = await new Promise<string>((resolve, reject) => {
    const socket = connect({ host, port: UPLOAD_PORT, allowHalfOpen: true });
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk.toString();
    });
    socket.on("end", () => resolve(text));
    socket.on("error", reject);
    let left = bytes;
    let block = createHash("sha256").update("squall").digest();
    const push = (): void => {
      while (left > 0) {
        block = createHash("sha256").update(block).digest();
        const piece = Buffer.concat(Array.from({ length: 256 }, () => block)).subarray(0, Math.min(left, 8192));
        hash.update(piece);
        left -= piece.length;
        if (!socket.write(piece)) {
          socket.once("drain", push);
          return;
        }
      }
      socket.end();
    };
    push();
  });
  return { sent: hash.digest("hex"), received: answer, ms: performance.now() - started };
}

function control(path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    httpRequest({ host: "127.0.0.1", port: CONTROL_PORT, path }, (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      response.on("end", () => resolve(text));
    })
      .on("error", reject)
      .end();
  });
}

async function measure([command = "", host = "", ...rest]: readonly string[]): Promise<unknown> {
  const numbers = rest.map(Number);
  switch (command) {
    case "udp":
      return await udp(host, numbers[0] ?? 1, numbers[1] ?? 10);
    case "survey":
      return await survey([host, ...rest]);
    case "tcp":
      return await tcp(host, numbers[0] ?? CONTROL_PORT, numbers[1] ?? 1);
    case "upload":
      return await upload(host, numbers[0] ?? 1);
    case "sample":
      return JSON.parse(await control(`/sample?host=${encodeURIComponent(host)}&everyMs=${numbers[0] ?? 50}`));
    case "samples":
      return JSON.parse(await control(`/samples?host=${encodeURIComponent(host)}`));
    default:
      throw new Error(`unknown command ${command}`);
  }
}

/** Reads commands line by line, and answers each as soon as it is done. */
function measureOnDemand(): void {
  createInterface(process.stdin).on("line", (line) => {
    const { id, argv } = JSON.parse(line) as { readonly id: number; readonly argv: readonly string[] };
    measure(argv).then(
      (result) => console.log(JSON.stringify({ id, result })),
      (error: unknown) => console.log(JSON.stringify({ id, error: String(error) })),
    );
  });
}

if (process.argv[2] === "serve") serve();
else if (process.argv[2] === "measure") measureOnDemand();
else if (process.argv[2] === "once") console.log(JSON.stringify(await measure(process.argv.slice(3))));
else throw new Error(`unknown mode ${process.argv[2]}`);
