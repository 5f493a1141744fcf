import assert from "node:assert/strict";
import { parseMountinfo } from "../../agent/mountinfo.ts";

describe("parseMountinfo", () => {
  it("reads mounts with any number of optional fields, and names as they are", () => {
    const text = [
      "29 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw",
      "310 29 0:72 / /var/my\\040files ro,nosuid shared:150 master:3 - fuse squall-a\\134b rw,user_id=0",
      "311 29 0:73 /sub /var/lib rw - tmpfs tmpfs rw",
      "",
    ].join("\n");
    assert.deepEqual(parseMountinfo(text), [
      { id: 29, path: "/", options: ["rw", "relatime"], type: "ext4", source: "/dev/vda" },
      { id: 310, path: "/var/my files", options: ["ro", "nosuid"], type: "fuse", source: "squall-a\\b" },
      { id: 311, path: "/var/lib", options: ["rw"], type: "tmpfs", source: "tmpfs" },
    ]);
  });

  it("has nothing to say of lines that are none", () => {
    assert.deepEqual(parseMountinfo("\nhalf a line"), []);
  });
});
