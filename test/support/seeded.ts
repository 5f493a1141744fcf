/** Points of a crash matrix: a short form tries some of them, other ones with each seed. */
export interface Selection<P> {
  readonly chosen: readonly P[];
  /** How the same ones are chosen again. */
  readonly recipe: string;
}

/** Numbers from 0 up to 1, the same for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** SQUALL_CRASH_SEED, or the number of the day. */
export const crashSeed = (): number => Number(process.env["SQUALL_CRASH_SEED"] ?? Math.floor(Date.now() / 86_400_000));

/**
 * SQUALL_CRASH_POINTS many of these, or as many as the short form has; "all" is all of them. One of every so many in their order, so that each
 * part of the list has its share; which one, the seed says.
 */
export function choosePoints<P>(points: readonly P[], { short }: { readonly short: number }): Selection<P> {
  const wanted = process.env["SQUALL_CRASH_POINTS"] ?? String(short);
  if (wanted === "all") return { chosen: points, recipe: "all" };
  const seed = crashSeed();
  const random = seededRandom(seed);
  const count = Math.min(points.length, Number(wanted));
  const size = points.length / count;
  const chosen = Array.from({ length: count }, (_, index) => points[Math.floor((index + random()) * size)]).flatMap((point) => point ?? []);
  return { chosen, recipe: `SQUALL_CRASH_SEED=${seed}` };
}
