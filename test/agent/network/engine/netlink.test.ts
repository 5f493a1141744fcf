import assert from "node:assert/strict";
import {
  encodeBind,
  encodeUnbind,
  newReceivedMessage,
  type ReceivedMessage,
  readMessage,
  VERDICT_BYTES,
  verdicts,
  writeVerdictUpTo,
} from "../../../../agent/network/engine/netlink.ts";

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ""), "hex");

function read(bytes: Buffer, { start = 0 } = {}): ReceivedMessage {
  const message = newReceivedMessage();
  readMessage(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), start, bytes.length - start, message);
  return message;
}

/** As the kernel sends it: id 42, hook 4, mark, device 3, a payload of 6 bytes. */
const packetMessage = hex(`
  44000000 0003 0000 00000000 00000000  02 00 0007
  0b00 0100 0000002a 0800 04 00
  0800 0300 5c000001
  0800 0600 00000003
  0800 0e00 00000000
  0a00 0a00 4500001406ff 0000
`);

describe("netlink messages of a queue", () => {
  it("bind it with whole packets copied, a bound, FAIL_OPEN on and GSO off", () => {
    assert.equal(
      encodeBind(7, { maxPackets: 4096 }).toString("hex"),
      hex(`
        40000000 0203 0500 00000000 00000000  00 00 0007
        0800 0100 01 00 0000
        0900 0200 0000ffff 02 000000
        0800 0300 00001000
        0800 0400 0000001f
        0800 0500 00000001
      `).toString("hex"),
    );
  });

  it("give it up", () => {
    assert.equal(encodeUnbind(7).toString("hex"), hex("1c000000 0203 0500 00000000 00000000 00000007 0800 0100 02000000").toString("hex"));
  });

  it("answer for all packets up to an id", () => {
    const bytes = Buffer.alloc(VERDICT_BYTES + 4, 0xee);
    writeVerdictUpTo(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 4, 0x102, 0x01020304, verdicts.accept);
    assert.equal(bytes.subarray(0, 4).toString("hex"), "eeeeeeee");
    assert.equal(
      bytes.subarray(4).toString("hex"),
      hex("20000000 0303 0100 00000000 00000000 0000 0102 0c00 0200 00000001 01020304").toString("hex"),
    );
  });

  it("carry a packet with its id, mark and device", () => {
    assert.deepEqual(read(packetMessage), {
      kind: "packet",
      errno: 0,
      id: 42,
      outDevice: 3,
      mark: 0x5c000001,
      packetStart: 60,
      queue: 7,
      packetLength: 6,
      truncatedFrom: 0,
    });
  });

  it("are read where they begin, with places counted from the start of the memory", () => {
    const message = read(Buffer.concat([Buffer.alloc(100), packetMessage]), { start: 100 });
    assert.deepEqual([message.id, message.packetStart], [42, 160]);
  });

  it("tell how long a truncated packet was", () => {
    const message = read(hex("28000000 0003 0000 00000000 00000000 02000007 0b00 0100 00000001 08000400 0800 0d00 0000ffff"));
    assert.deepEqual([message.kind, message.truncatedFrom], ["packet", 0xffff]);
  });

  it("tell the error of a refused request, and 0 for one that was carried out", () => {
    assert.equal(read(hex("24000000 0200 0000 00000000 00000000 ffffffff 00000000 00000000 00000000 00000000")).errno, 1);
    assert.deepEqual([read(hex("24000000 0200 0000 00000000 00000000 00000000 0000000000000000000000000000")).kind], ["error"]);
  });

  it("never make us read beyond them, however they are cut", () => {
    for (let length = 0; length < packetMessage.length; length++) {
      const cut = read(packetMessage.subarray(0, length));
      assert.ok(cut.packetStart + cut.packetLength <= length || cut.packetLength === 0);
    }
  });
});
