// Runs inside pods of the stories (mounted from a ConfigMap, types stripped by Node): a server that echoes and keeps
// sampling, and commands that measure from where they run. Each command prints one line of JSON.
import { createHash } from "node:crypto";
import { createSocket } from "node:dgram";
import { createServer as createHttpServer, request as httpRequest } from "node:http";
import { connect, createServer } from "node:net";

const CONTROL_PORT = 8080;
const UDP_PORT = 7001;
const UPLOAD_PORT = 7002;

/** One probe: when it left (ms since 1970), and its round trip in ms; -1 while no answer came, -2 when the send failed. */
type Sample = [sentAt: number, roundTripMs: number];

function serve(): void {
  const samplers = new Map<string, Sample[]>();

  const echo = createSocket("udp4");
  echo.on("message", (message, from) => echo.send(message, from.port, from.address, () => undefined));
  echo.bind(UDP_PORT);

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
  const socket = createSocket("udp4");
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
  const socket = createSocket("udp4");
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

/** Some datagrams to each host at once: errors of send and the median round trip in ms, null without an answer. */
async function survey(hosts: readonly string[]): Promise<unknown> {
  const found = await Promise.all(
    hosts.map(async (host) => {
      const socket = createSocket("udp4");
      const sentAt: number[] = [];
      const roundTrips: number[] = [];
      let errors = 0;
      socket.on("message", (message) => roundTrips.push(performance.now() - (sentAt[message.readUInt32BE(0)] ?? 0)));
      for (let index = 0; index < 9; index++) {
        const payload = Buffer.alloc(64);
        payload.writeUInt32BE(index);
        sentAt.push(performance.now());
        socket.send(payload, UDP_PORT, host, (error) => {
          if (error) errors++;
        });
        await new Promise((resolve) => setTimeout(resolve, 15));
      }
      await new Promise((resolve) => setTimeout(resolve, 700));
      socket.close();
      return { errors, roundTripMs: roundTrips.toSorted((a, b) => a - b)[roundTrips.length >> 1] ?? null };
    }),
  );
  return found;
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

const [command = "", host = "", ...rest] = process.argv.slice(2);
const numbers = rest.map(Number);
if (command === "serve") serve();
else if (command === "udp") console.log(JSON.stringify(await udp(host, numbers[0] ?? 1, numbers[1] ?? 10)));
else if (command === "survey") console.log(JSON.stringify(await survey([host, ...rest])));
else if (command === "tcp") console.log(JSON.stringify(await tcp(host, numbers[0] ?? CONTROL_PORT, numbers[1] ?? 1)));
else if (command === "upload") console.log(JSON.stringify(await upload(host, numbers[0] ?? 1)));
else if (command === "sample") console.log(await control(`/sample?host=${host}&everyMs=${numbers[0] ?? 50}`));
else if (command === "samples") console.log(await control(`/samples?host=${host}`));
else throw new Error(`unknown command ${command}`);
