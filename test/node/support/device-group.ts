import { closeSync, openSync } from "node:fs";
import { mkdir, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import koffi from "koffi";
import { ensureCgroups } from "./stress-target.ts";

/** A group whose processes may not use a character device, as container runtimes make them. */
export interface DeviceGroup {
  readonly version: 1 | 2;
  readonly folder: string;
  /** Once nothing is in it any more. */
  close(): Promise<void>;
}

/** `device`: MAJOR:MINOR. */
export async function openDeviceGroup(device: string): Promise<DeviceGroup> {
  const { root, version } = await ensureCgroups();
  const folder = join(root, version === 1 ? "devices" : ".", `squall-test-devices-${process.pid}`);
  await mkdir(folder);
  if (version === 1) await writeFile(join(folder, "devices.deny"), `c ${device} rwm`);
  else refuseByProgram(folder, device);
  return {
    version,
    folder,
    async close() {
      for (let left = 200; ; left -= 1) {
        try {
          return await rmdir(folder);
        } catch (error) {
          if (left === 0) throw error; // the kernel has not buried its processes
          await sleep(10);
        }
      }
    },
  };
}

const SYS_BPF = 321; // x86_64
const bpf = { load: 5, attach: 8, cgroupDeviceProgram: 15, cgroupDevice: 6 } as const;
/** See bpf(2) and linux/bpf.h. The program is given the kind of access, the major and the minor number of the device. */
function refuseByProgram(folder: string, device: string): void {
  const [major = 0, minor = 0] = device.split(":").map(Number);
  const call: (number: number, command: number, attributes: Buffer, bytes: number) => number = koffi
    .load(null)
    .func("intptr_t syscall(intptr_t, intptr_t, void*, size_t)");
  const program = Buffer.concat([
    instruction(0x61, 0x12, 4, 0), // r2 = major
    instruction(0x55, 0x02, 4, major), // is another: allow
    instruction(0x61, 0x13, 8, 0), // r3 = minor
    instruction(0x55, 0x03, 2, minor), // is another: allow
    instruction(0xb7, 0x00, 0, 0), // refuse
    instruction(0x95, 0x00, 0, 0),
    instruction(0xb7, 0x00, 0, 1), // allow
    instruction(0x95, 0x00, 0, 0),
  ]);
  const license = Buffer.from("GPL\0");
  const loading = Buffer.alloc(72);
  loading.writeUInt32LE(bpf.cgroupDeviceProgram, 0);
  loading.writeUInt32LE(program.length / 8, 4);
  loading.writeBigUInt64LE(koffi.address(program), 8);
  loading.writeBigUInt64LE(koffi.address(license), 16);
  const loaded = call(SYS_BPF, bpf.load, loading, loading.length);
  if (loaded < 0) throw new Error(`bpf(BPF_PROG_LOAD) failed with error ${koffi.errno()}.`);
  const group = openSync(folder, "r");
  try {
    const attaching = Buffer.alloc(16);
    attaching.writeUInt32LE(group, 0);
    attaching.writeUInt32LE(loaded, 4);
    attaching.writeUInt32LE(bpf.cgroupDevice, 8);
    if (call(SYS_BPF, bpf.attach, attaching, attaching.length) < 0)
      throw new Error(`bpf(BPF_PROG_ATTACH) failed with error ${koffi.errno()}.`);
  } finally {
    closeSync(group);
    closeSync(loaded);
  }
}

function instruction(code: number, registers: number, offset: number, immediate: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt8(code, 0);
  bytes.writeUInt8(registers, 1);
  bytes.writeInt16LE(offset, 2);
  bytes.writeInt32LE(immediate, 4);
  return bytes;
}
