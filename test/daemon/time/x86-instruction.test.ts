import assert from "node:assert/strict";
import { decodeInstruction, paddingLength } from "../../../daemon/time/x86-instruction.ts";

/** Machine code, its length, and where its displacement begins that counts from the instruction's end. */
const known: readonly (readonly [code: string, name: string, ripAt?: number])[] = [
  ["55", "push rbp"],
  ["4157", "push r15"],
  ["4889e5", "mov rbp,rsp"],
  ["f30f1efa", "endbr64"],
  ["4883e4f0", "and rsp,-16"],
  ["4881ec00010000", "sub rsp,256"],
  ["83ff17", "cmp edi,23"],
  ["48c7c0ffffffff", "mov rax,-1"],
  ["b860000000", "mov eax,96"],
  ["66b86000", "mov ax,96"],
  ["48b80102030405060708", "mov rax,imm64"],
  ["4c8d15e897ffff", "lea r10,[rip-0x6818]", 3],
  ["813d0000000000000000", "cmp dword [rip],imm32", 2],
  ["66813d000000000000", "cmp word [rip],imm16", 3],
  ["803d0000000000", "cmp byte [rip],imm8", 2],
  ["488b04c500100000", "mov rax,[rax*8+0x1000]"],
  ["488b4424f8", "mov rax,[rsp-8]"],
  ["488b842400010000", "mov rax,[rsp+0x100]"],
  ["8b45f0", "mov eax,[rbp-16]"],
  ["8b8500010000", "mov eax,[rbp+0x100]"],
  ["488d042500100000", "lea rax,[0x1000]"],
  ["0f48c2", "cmovs eax,edx"],
  ["480fbaf23f", "btr rdx,63"],
  ["0f1f8000000000", "nop dword [rax]"],
  ["69c0d34d6210", "imul eax,eax,imm32"],
];

describe("decodeInstruction", () => {
  for (const [code, name, ripAt] of known) {
    it(`knows where ${name} ends`, () => {
      const bytes = Buffer.concat([Buffer.from(code, "hex"), Buffer.alloc(16, 0xcc)]);
      assert.deepEqual(decodeInstruction(bytes, 0), { length: code.length / 2, ripAt });
    });
  }

  for (const [code, name] of [
    ["eb10", "jmp"],
    ["e910000000", "jmp far"],
    ["7410", "je"],
    ["0f8410000000", "je far"],
    ["e810000000", "call"],
    ["c3", "ret"],
    ["0f05", "syscall"],
    ["0f01f9", "rdtscp"],
  ] as const) {
    it(`does not claim to know ${name}`, () => {
      assert.equal(decodeInstruction(Buffer.concat([Buffer.from(code, "hex"), Buffer.alloc(16)]), 0), undefined);
    });
  }

  it("throws instead of reading past the end", () => {
    assert.throws(() => decodeInstruction(Buffer.from("48", "hex"), 0), RangeError);
  });
});

describe("paddingLength", () => {
  it("knows nops and int3, and nothing else", () => {
    for (const code of ["90", "cc", "6690", "0f1f00", "660f1f440000", "662e0f1f840000000000"])
      assert.equal(paddingLength(Buffer.from(`${code}c3c3`, "hex"), 0), code.length / 2, code);
    for (const code of ["c3", "55", "f30f1efa", "00"]) assert.equal(paddingLength(Buffer.from(`${code}0000`, "hex"), 0), 0, code);
  });
});
