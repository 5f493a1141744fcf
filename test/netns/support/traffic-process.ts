import { createHash } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import type { Arrival, TrafficAnswer, TrafficOrder } from "./traffic.ts";

/** Makes and takes traffic inside a network namespace, for a test outside of it. Clocks of processes on one machine agree. */
const nowNs = (): bigint => process.hrtime.bigint();
const HEADER_BYTES = 12;
const arrivals: Arrival[] = [];
const loop = monitorEventLoopDelay({ resolution: 5 });
loop.enable();

function readLag(): number {
  const lagMs = loop.max / 1e6;
  loop.reset();
  return lagMs;
}

function datagram(number: number, bytes: number): Buffer {
  const message = Buffer.alloc(bytes);
  for (let at = HEADER_BYTES; at < bytes; at++) message[at] = (number * 31 + at * 7) & 255;
  message.writeUInt32BE(number, 0);
  return message;
}

function note(message: Buffer): void {
  const delayMs = Number(nowNs() - message.readBigUInt64BE(4)) / 1e6;
  const number = message.readUInt32BE(0);
  const expected = datagram(number, message.length);
  arrivals.push({ number, delayMs, isDamaged: !expected.subarray(HEADER_BYTES).equals(message.subarray(HEADER_BYTES)) });
}

async function listenUdp(): Promise<number> {
  const socket = createSocket({ type: "udp6", recvBufferSize: 4 << 20 });
  socket.on("message", note);
  socket.bind(0, "::"); // takes IPv4, too
  await once(socket, "listening");
  return socket.address().port;
}

async function sendUdp(order: Extract<TrafficOrder, { do: "send-udp" }>): Promise<readonly string[]> {
  const sockets = Array.from({ length: order.sockets }, (): Socket => createSocket({ type: order.to.includes(":") ? "udp6" : "udp4" }));
  const addresses = [order.to, ...(order.others ?? [])];
  const errors: string[] = [];
  const pending: Promise<void>[] = [];
  for (let number = 0; number < order.count; number++) {
    const message = datagram(number, order.bytes);
    message.writeBigUInt64BE(nowNs(), 4);
    pending.push(
      new Promise((resolve) => {
        sockets[number % sockets.length]?.send(message, order.port, addresses[number % addresses.length], (error) => {
          if (error) errors.push(error.message);
          resolve();
        });
      }),
    );
    if ((number + 1) % order.burst === 0) await sleep(order.gapMs);
  }
  await Promise.all(pending);
  for (const socket of sockets) socket.close();
  return errors;
}

async function listenTcp(): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (connection) => {
    const hash = createHash("sha256");
    connection.on("data", (chunk) => hash.update(chunk));
    connection.on("end", () => connection.end(hash.digest("hex")));
    connection.on("error", () => connection.destroy());
  });
  server.listen(0, "::");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

async function sendTcp({ to, port, bytes }: Extract<TrafficOrder, { do: "send-tcp" }>): Promise<TrafficAnswer> {
  const content = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 4) content.writeUInt32LE((at * 2_654_435_761) >>> 0, at);
  const begun = nowNs();
  const connection = connect(port, to);
  connection.end(content);
  let readHash = "";
  for await (const chunk of connection) readHash += String(chunk);
  return { sentHash: createHash("sha256").update(content).digest("hex"), readHash, seconds: Number(nowNs() - begun) / 1e9 };
}

async function obey(order: TrafficOrder): Promise<TrafficAnswer> {
  switch (order.do) {
    case "listen-udp":
      return { port: await listenUdp() };
    case "send-udp":
      readLag();
      return { errors: await sendUdp(order), lagMs: readLag() };
    case "take-arrivals":
      return { arrivals: arrivals.splice(0), lagMs: readLag() };
    case "await-arrivals": {
      const endsAt = performance.now() + order.withinMs;
      while (arrivals.length < order.count && performance.now() < endsAt) await sleep(5);
      await sleep(10);
      return { arrivals: arrivals.splice(0), lagMs: readLag() };
    }
    case "listen-tcp":
      return { port: await listenTcp() };
    case "send-tcp":
      return sendTcp(order);
  }
}

process.on("message", (order: TrafficOrder) => {
  obey(order).then(
    (answer) => process.send?.({ answer }),
    (error: unknown) => process.send?.({ error: String(error) }),
  );
});
process.on("disconnect", () => process.exit(0));
