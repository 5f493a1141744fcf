import { read } from "node:fs";
import { promisify } from "node:util";
import { decode } from "dns-packet";
import type { Log } from "../../common/log.ts";
import { addressOf, failure, openLibc } from "./engine/libc.ts";

const AF_INET = 2;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const IPPROTO_UDP = 17;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SO_ATTACH_FILTER = 26;
const LARGEST_ANSWER = 4096;

/** UDP from port 53, in the instructions of Linux' classic BPF: code, jump if true, jump if false, operand. */
const FROM_PORT_53 = [
  [0xb1, 0, 0, 0], // x = length of the IP header
  [0x48, 0, 0, 0], // load the half word at x: the source port
  [0x15, 0, 1, 53],
  [0x06, 0, 0, 0xffff], // keep all of it
  [0x06, 0, 0, 0],
] as const;

export type OnAnswer = (name: string, addresses: readonly string[], ttlSeconds: number) => void;

/**
 * Reads along the DNS answers over UDP and IPv4 that this network namespace receives; they are neither held nor changed. Needs NET_RAW. The
 * returned function ends it. Answers that are malformed are left out.
 */
export function watchDnsAnswers(onAnswer: OnAnswer, log: Log): () => void {
  const libc = openLibc();
  const fd = libc.socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_UDP);
  if (fd < 0) throw failure(libc, "Opening a raw socket (needs the capability NET_RAW)");
  const instructions = Buffer.alloc(FROM_PORT_53.length * 8);
  for (const [index, [code, jumpTrue, jumpFalse, operand]] of FROM_PORT_53.entries()) {
    instructions.writeUInt16LE(code, index * 8);
    instructions.writeUInt8(jumpTrue, index * 8 + 2);
    instructions.writeUInt8(jumpFalse, index * 8 + 3);
    instructions.writeUInt32LE(operand, index * 8 + 4);
  }
  const program = Buffer.alloc(16);
  program.writeUInt16LE(FROM_PORT_53.length, 0);
  program.writeBigUInt64LE(addressOf(instructions), 8);
  const second = Buffer.alloc(16);
  second.writeBigInt64LE(1n, 0);
  if (libc.setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, program, 16) < 0 || libc.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, second, 16) < 0) {
    const error = failure(libc, "Filtering a raw socket");
    libc.close(fd);
    throw error;
  }
  let isEnded = false;
  void readAll();
  return () => {
    isEnded = true;
  };

  async function readAll(): Promise<void> {
    const packet = Buffer.alloc(LARGEST_ANSWER);
    for (;;) {
      if (isEnded) break;
      try {
        // blocks a thread of the pool for a second at most
        const { bytesRead } = await readAsync(fd, packet, 0, packet.length, null);
        readAnswer(packet.subarray(0, bytesRead), onAnswer);
      } catch (error) {
        if (isErrno(error, "EAGAIN")) continue;
        log.warn({ err: error }, "DNS answers are no longer followed");
        break;
      }
    }
    libc.close(fd);
  }
}

const readAsync = promisify(read);

const isErrno = (error: unknown, code: string): boolean => error instanceof Error && "code" in error && error.code === code;

/** Takes the addresses out of one IPv4 packet with a DNS answer; every name of a chain of aliases gets those at its end. */
export function readAnswer(packet: Buffer, onAnswer: OnAnswer): void {
  const header = ((packet[0] ?? 0) & 15) * 4;
  let answer;
  try {
    answer = decode(packet.subarray(header + 8));
  } catch {
    return; // not a DNS message, or one cut off
  }
  const records = answer.answers ?? [];
  const addresses = records.flatMap((record) => (record.type === "A" || record.type === "AAAA" ? [record] : []));
  if (answer.type !== "response" || addresses.length === 0) return;
  const ttlSeconds = Math.min(...addresses.map(({ ttl }) => ttl ?? 0));
  for (const { name } of answer.questions ?? [])
    onAnswer(
      name.toLowerCase(),
      addresses.map(({ data }) => data),
      ttlSeconds,
    );
}
