import { addressOf } from "./libc.ts";

/**
 * Memory for held packets. A packet lies in one slot of a few fixed sizes, so nothing is allocated or freed per packet and
 * the addresses that the kernel gets stay valid. Memory is taken in chunks as it is needed and given back by `clear`.
 */
export interface Slots {
  /** A slot with room for `bytes`; -1 when the bound is reached. */
  take(bytes: number): number;
  give(slot: number): void;
  /** The chunk of memory that the slot is part of, the slot's place in it, and the address of that place. */
  memoryOf(slot: number): Buffer;
  viewOf(slot: number): DataView;
  startOf(slot: number): number;
  addressOf(slot: number): number;
  /** Says which bytes of the slot's memory (counted from the start of the chunk) are a packet, its mark and the device it leaves by. */
  setPacket(slot: number, start: number, length: number, mark: number, device: number): void;
  /** Says that the packet itself waits in a queue of the kernel; the slot then has its changed bytes, or none. */
  setHeldThere(slot: number, queue: number, id: number): void;
  packetStart(slot: number): number;
  packetLength(slot: number): number;
  packetMark(slot: number): number;
  packetDevice(slot: number): number;
  /** The queue in which the packet waits; 0 for one that is only here. */
  heldQueue(slot: number): number;
  heldId(slot: number): number;
  /** Memory taken from the system, bytes. */
  allocatedBytes(): number;
  takenSlots(): number;
  /** Gives all memory back. No slot may be in use. */
  clear(): void;
}

/** For acknowledgements and queries; for the wire's 1,500 bytes; for jumbo frames; for the loopback device's 65,536. */
export const slotSizes = [256, 2048, 16_384, 67_584] as const;
const CHUNK_BYTES = 256 * 1024;
/** Numbers kept of each slot. */
const FIELDS = 6;

interface Chunk {
  readonly memory: Buffer;
  readonly view: DataView;
  readonly address: number;
  readonly firstSlot: number;
  readonly slotBytes: number;
  readonly sizeClass: number;
}

/** Takes `maxBytes` from the system at most. */
export function createSlots({ maxBytes }: { readonly maxBytes: number }): Slots {
  let free: number[][] = slotSizes.map(() => []);
  let chunkOf: Chunk[] = [];
  let packets = new Uint32Array(0); // of each slot: start, length, mark, device, queue and id
  let allocated = 0;
  let taken = 0;

  function addChunk(sizeClass: number, slotBytes: number): boolean {
    const count = Math.max(1, Math.floor(CHUNK_BYTES / slotBytes));
    const bytes = count * slotBytes;
    if (allocated + bytes > maxBytes) return false;
    // not cleared, so that a page costs nothing until a packet is in it
    const memory = Buffer.allocUnsafeSlow(bytes);
    const chunk = {
      memory,
      view: new DataView(memory.buffer, memory.byteOffset, memory.length),
      address: Number(addressOf(memory)),
      firstSlot: chunkOf.length,
      slotBytes,
      sizeClass,
    };
    for (let i = 0; i < count; i++) chunkOf.push(chunk);
    for (let i = count - 1; i >= 0; i--) free[sizeClass]?.push(chunk.firstSlot + i);
    const grown = new Uint32Array(chunkOf.length * FIELDS);
    grown.set(packets);
    packets = grown;
    allocated += bytes;
    return true;
  }

  function chunk(slot: number): Chunk {
    const found = chunkOf[slot];
    if (found === undefined) throw new RangeError(`There is no slot ${slot}.`);
    return found;
  }

  const startOf = (slot: number): number => {
    const { firstSlot, slotBytes } = chunk(slot);
    return (slot - firstSlot) * slotBytes;
  };

  return {
    take(bytes) {
      for (let sizeClass = 0; sizeClass < slotSizes.length; sizeClass++) {
        const slotBytes = slotSizes[sizeClass] ?? 0;
        if (slotBytes < bytes) continue;
        const slots = free[sizeClass] ?? [];
        // at the bound, a larger slot that is free serves as well
        if (slots.length === 0 && !addChunk(sizeClass, slotBytes)) continue;
        taken++;
        return slots.pop() ?? -1;
      }
      return -1;
    },
    give(slot) {
      taken--;
      free[chunk(slot).sizeClass]?.push(slot);
    },
    memoryOf: (slot) => chunk(slot).memory,
    viewOf: (slot) => chunk(slot).view,
    startOf,
    addressOf: (slot) => chunk(slot).address + startOf(slot),
    setPacket(slot, start, length, mark, device) {
      const at = slot * FIELDS;
      packets[at] = start;
      packets[at + 1] = length;
      packets[at + 2] = mark;
      packets[at + 3] = device;
      packets[at + 4] = 0;
    },
    setHeldThere(slot, queue, id) {
      packets[slot * FIELDS + 4] = queue;
      packets[slot * FIELDS + 5] = id;
    },
    packetStart: (slot) => packets[slot * FIELDS] ?? 0,
    packetLength: (slot) => packets[slot * FIELDS + 1] ?? 0,
    packetMark: (slot) => packets[slot * FIELDS + 2] ?? 0,
    packetDevice: (slot) => packets[slot * FIELDS + 3] ?? 0,
    heldQueue: (slot) => packets[slot * FIELDS + 4] ?? 0,
    heldId: (slot) => packets[slot * FIELDS + 5] ?? 0,
    allocatedBytes: () => allocated,
    takenSlots: () => taken,
    clear() {
      if (taken > 0) throw new Error(`${taken} slots are in use.`);
      free = slotSizes.map(() => []);
      chunkOf = [];
      packets = new Uint32Array(0);
      allocated = 0;
    },
  };
}
