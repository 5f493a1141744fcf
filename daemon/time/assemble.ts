/** A byte; a name for the place where it stands; or a distance to a name, counted from the end of the instruction. */
export type Item = number | { readonly label: string } | Distance;

interface Distance {
  readonly to: string;
  readonly bytes: 1 | 4;
  /** Bytes of the instruction that come after the distance. */
  readonly tail: number;
}

export const label = (name: string): Item => ({ label: name });
export const near = (to: string): Item => ({ to, bytes: 1, tail: 0 });
export const far = (to: string, tail = 0): Item => ({ to, bytes: 4, tail });

/** A number of 32 bits as its bytes. */
export const word = (value: number): readonly number[] => [value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >> 24) & 255];

/** Machine code for address `base`. Labels and `known` places are addresses alike. Throws for a name that is neither, and a distance that does not fit. */
export function assemble(
  items: readonly Item[],
  base: number,
  known: ReadonlyMap<string, number>,
): { readonly bytes: Buffer; readonly labels: ReadonlyMap<string, number> } {
  const labels = new Map(known);
  let end = base;
  for (const item of items) {
    if (typeof item === "object" && "label" in item) labels.set(item.label, end);
    end += sizeOf(item);
  }
  const bytes = Buffer.alloc(end - base);
  let at = 0;
  for (const item of items) {
    if (typeof item === "number") bytes[at] = item;
    else if ("to" in item) {
      const target = labels.get(item.to);
      if (target === undefined) throw new Error(`No label ${item.to} in this machine code.`);
      bytes.writeIntLE(target - (base + at + item.bytes + item.tail), at, item.bytes);
    }
    at += sizeOf(item);
  }
  return { bytes, labels };
}

function sizeOf(item: Item): number {
  if (typeof item === "number") return 1;
  return "to" in item ? item.bytes : 0;
}
