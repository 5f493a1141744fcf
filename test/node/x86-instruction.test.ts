import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { decodeInstruction } from "../../daemon/time/x86-instruction.ts";
import { readOwnVdso } from "../../daemon/time/vdso-image.ts";
import { openNativePrograms, isInstalled, writeSource } from "./support/native-programs.ts";

describe("decodeInstruction", () => {
  it("agrees with objdump about every instruction of the vDSO that it knows", function () {
    if (!isInstalled("objdump")) return this.skip();
    const programs = openNativePrograms();
    try {
      const vdso = readOwnVdso();
      const path = writeSource(programs.folder, "vdso.so", vdso);
      const { stdout } = spawnSync("objdump", ["-d", "-w", path], { encoding: "utf8" });
      let known = 0;
      let all = 0;
      for (const [, address = "", code = ""] of stdout.matchAll(/^\s+([0-9a-f]+):\t((?:[0-9a-f]{2} )+)/gm)) {
        all++;
        const instruction = decodeInstruction(vdso, Number.parseInt(address, 16));
        if (instruction === undefined) continue;
        known++;
        assert.equal(instruction.length, code.trim().split(" ").length, `${address}: ${code}`);
      }
      assert.ok(known > all / 2, `${known} of ${all}`);
    } finally {
      programs.close();
    }
  });
});
