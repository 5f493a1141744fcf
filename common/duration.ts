/**
 * Durations in Go's syntax, as every Kubernetes manifest writes them: `300ms`, `1h30m`, `-1.5s`, `0`.
 * Grammar: https://pkg.go.dev/time#ParseDuration
 */

const NANOSECONDS: Readonly<Record<string, bigint>> = {
  ns: 1n,
  us: 1_000n,
  µs: 1_000n,
  μs: 1_000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
};

// Both signs for micro by their numbers: one letter beyond Latin-1 has V8 keep the whole bundle at two bytes a character.
const WHOLE = /^([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h))+)$/;
const PART = /(\d*)\.?(\d*)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)/g;
const LARGEST = 2n ** 63n;

/** Nanoseconds of a Go duration, or undefined where Go would refuse the text. Fractions below 1 ns are cut off, as Go does. */
export function parseDuration(text: string): bigint | undefined {
  if (/^[+-]?0$/.test(text)) return 0n;
  // The bound keeps hostile text from costing more than a look at its length.
  if (text.length > 200) return undefined;
  const match = WHOLE.exec(text);
  if (!match) return undefined;
  let total = 0n;
  for (const [, whole = "", fraction = "", unit = ""] of (match[2] ?? "").matchAll(PART)) {
    const scale = NANOSECONDS[unit] ?? 0n;
    total += BigInt(whole || "0") * scale + (BigInt(fraction || "0") * scale) / 10n ** BigInt(fraction.length);
  }
  const isNegative = match[1] === "-";
  if (isNegative ? total > LARGEST : total >= LARGEST) return undefined;
  return isNegative ? -total : total;
}

/** As parseDuration, in milliseconds with a fraction. */
export function parseDurationMs(text: string): number | undefined {
  const nanoseconds = parseDuration(text);
  return nanoseconds === undefined ? undefined : Number(nanoseconds) / 1e6;
}

const UNITS = [
  ["h", 3_600_000_000_000n],
  ["m", 60_000_000_000n],
  ["s", 1_000_000_000n],
  ["ms", 1_000_000n],
  ["us", 1_000n],
  ["ns", 1n],
] as const;

/** The shortest Go duration for a number of nanoseconds, in whole units: `1h30m`, `1s500ms`. Its parse gives the same number back. */
export function formatDuration(nanoseconds: bigint): string {
  if (nanoseconds === 0n) return "0s";
  let left = nanoseconds < 0n ? -nanoseconds : nanoseconds;
  let text = nanoseconds < 0n ? "-" : "";
  for (const [unit, scale] of UNITS) {
    if (left >= scale) {
      text += `${left / scale}${unit}`;
      left %= scale;
    }
  }
  return text;
}
