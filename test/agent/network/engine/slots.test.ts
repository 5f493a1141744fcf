import assert from "node:assert/strict";
import { createSlots } from "../../../../agent/network/engine/slots.ts";

const MIB = 1024 * 1024;

describe("slots", () => {
  it("take no memory before they are needed, and give all of it back", () => {
    const slots = createSlots({ maxBytes: MIB });
    assert.equal(slots.allocatedBytes(), 0);
    const slot = slots.take(1500);
    assert.ok(slots.allocatedBytes() > 0 && slots.allocatedBytes() < MIB);
    assert.throws(() => slots.clear(), /1 slots are in use/);
    slots.give(slot);
    slots.clear();
    assert.equal(slots.allocatedBytes(), 0);
    assert.ok(slots.take(1500) >= 0);
  });

  it("never overlap, whatever their sizes", () => {
    const slots = createSlots({ maxBytes: 4 * MIB });
    const taken = [1, 256, 257, 2048, 9000, 65_600, 100, 1500].map((bytes) => ({ bytes, slot: slots.take(bytes) }));
    for (const [i, { bytes, slot }] of taken.entries()) slots.memoryOf(slot).fill(i + 1, slots.startOf(slot), slots.startOf(slot) + bytes);
    for (const [i, { bytes, slot }] of taken.entries()) {
      const start = slots.startOf(slot);
      assert.deepEqual(slots.memoryOf(slot).subarray(start, start + bytes), Buffer.alloc(bytes, i + 1));
    }
  });

  it("stay within the bound, use larger free slots there, and are had again once given back", () => {
    const slots = createSlots({ maxBytes: MIB });
    const large: number[] = [];
    for (let slot = slots.take(2048); slot >= 0; slot = slots.take(2048)) large.push(slot);
    assert.equal(large.length, 512);
    assert.ok(slots.allocatedBytes() <= MIB);
    assert.equal(slots.take(64), -1);
    slots.give(large.pop() ?? -1);
    assert.ok(slots.take(64) >= 0);
    assert.equal(slots.take(64), -1);
  });

  it("remember which of their bytes are a packet, and its mark, as memory grows", () => {
    const slots = createSlots({ maxBytes: 8 * MIB });
    const first = slots.take(2048);
    slots.setPacket(first, 72, 1500, 0xff000001, 3);
    for (let i = 0; i < 500; i++) slots.take(2048);
    assert.deepEqual(
      [slots.packetStart(first), slots.packetLength(first), slots.packetMark(first), slots.packetDevice(first), slots.heldQueue(first)],
      [72, 1500, 0xff000001, 3, 0],
    );
  });
});
