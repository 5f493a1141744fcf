/**
 * Machine code with labels: a number is a byte, a text that ends in a colon defines a label, an object is the distance to one, of one byte or of
 * four, from the end of the instruction (`tail` more bytes of it follow).
 */
export type Code = readonly (number | `${string}:` | { readonly to: string; readonly bytes: 1 | 4; readonly tail?: number })[];

export interface Assembled {
  readonly bytes: Buffer;
  /** Where each label is, those that were given included. */
  readonly labels: ReadonlyMap<string, number>;
}

/** Throws a RangeError for a distance that does not fit, and an Error for a label that is not defined: the code is wrong then. */
export function assemble(code: Code, base: number, known: ReadonlyMap<string, number>): Assembled {
  const labels = new Map(known);
  let length = 0;
  for (const item of code) {
    if (typeof item === "string") labels.set(item.slice(0, -1), base + length);
    else length += typeof item === "number" ? 1 : item.bytes;
  }
  const bytes = Buffer.alloc(length);
  let at = 0;
  for (const item of code) {
    if (typeof item === "string") continue;
    if (typeof item === "number") {
      bytes[at++] = item;
      continue;
    }
    const target = labels.get(item.to);
    if (target === undefined) throw new Error(`There is no label ${item.to}.`);
    const next = at + item.bytes;
    bytes.writeIntLE(target - (base + next + (item.tail ?? 0)), at, item.bytes);
    at = next;
  }
  return { bytes, labels };
}

/** The four bytes of a number, lowest first. */
export function long(value: number): readonly number[] {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value | 0);
  return [...bytes];
}
