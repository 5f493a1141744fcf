import { parseByteSize } from "../../api/blocks/byte-size.ts";
import { parseDurationMs } from "../../common/duration.ts";
import type { MemoryStress } from "./stress-fault.ts";

/** A memory stress with the options that Chaos Mesh's own stressor knows read into its fields, and the rest left for stress-ng. */
export interface ReadMemory {
  readonly memory: MemoryStress;
  readonly problems: readonly string[];
}

/** `--time 10s` is the ramp, `--size 256MB` the size. They win over the fields, as options come after them there. */
export function readMemoryOptions(memory: MemoryStress): ReadMemory {
  const words = memory.options.flatMap((text) => text.split(/\s+/)).filter((word) => word !== "");
  const options: string[] = [];
  const problems: string[] = [];
  let { rampMs, size } = memory;
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] ?? "";
    const [, name = "", glued] = /^--?(time|size)(?:=(.*))?$/s.exec(word) ?? [];
    if (name === "") {
      options.push(word);
      continue;
    }
    if (glued === undefined) at += 1;
    const value = glued ?? words[at] ?? "";
    if (name === "time") {
      const readMs = parseDurationMs(value);
      if (readMs === undefined || readMs < 0)
        problems.push(`--time has the value ${JSON.stringify(value)}. Write a duration such as "10s".`);
      else rampMs = readMs;
    } else {
      const read = parseByteSize(value);
      if (read === undefined)
        problems.push(`--size has the value ${JSON.stringify(value)}. Write a size such as "256MB", or a share such as "25%".`);
      else size = read.is === "bytes" ? { bytes: read.bytes } : { percent: read.percent };
    }
  }
  return { memory: { ...memory, rampMs, size, options }, problems };
}
