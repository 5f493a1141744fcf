import assert from "node:assert/strict";
import { parseByteSize } from "../../../api/blocks/byte-size.ts";

describe("parseByteSize", () => {
  const rows: readonly (readonly [text: string, size: ReturnType<typeof parseByteSize>])[] = [
    ["25%", { is: "share", percent: 25 }],
    ["0%", { is: "share", percent: 0 }],
    ["100%", { is: "share", percent: 100 }],
    ["101%", undefined],
    ["-1%", undefined],
    ["%", undefined],
    ["1024", { is: "bytes", bytes: 1024 }],
    ["0", { is: "bytes", bytes: 0 }],
    ["10b", { is: "bytes", bytes: 10 }],
    ["256MB", { is: "bytes", bytes: 256_000_000 }],
    ["256m", { is: "bytes", bytes: 256_000_000 }],
    ["1.5 GiB", { is: "bytes", bytes: 1_610_612_736 }],
    [".5k", { is: "bytes", bytes: 500 }],
    ["1e3kb", { is: "bytes", bytes: 1_000_000 }],
    ["1P", { is: "bytes", bytes: 1e15 }],
    ["1Mi", undefined],
    ["1ib", undefined],
    ["1  GB", undefined],
    [" 1GB", undefined],
    ["-1GB", undefined],
    ["1e999", undefined],
    ["GB", undefined],
    ["", undefined],
    ["1EB", undefined],
  ];
  for (const [text, size] of rows)
    it(`reads ${JSON.stringify(text)} as ${JSON.stringify(size)}`, () => assert.deepEqual(parseByteSize(text), size));
});
