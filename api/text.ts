/** How values of users are shown in messages: short, on one line, and never able to forge another line. */

const LONGEST_SHOWN = 60;
/** A shorter text is part of too many words. */
const SHORTEST_PART = 4;

/** The value as JSON, cut to 60 characters, with everything but plain printable characters escaped. */
export function show(value: unknown): string {
  const json = typeof value === "string" ? JSON.stringify(value.slice(0, LONGEST_SHOWN + 1)) : (JSON.stringify(value) ?? "nothing");
  const safe = json.replaceAll(
    /[^\u0020-\u007e\u00a1-\u02ff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return safe.length <= LONGEST_SHOWN ? safe : `${safe.slice(0, LONGEST_SHOWN)}...`;
}

/** " Did you mean X?" for the known word nearest to what was written, or one that has it as a part; nothing when none is near. */
export function suggest(written: string, known: readonly string[]): string {
  if (written.length > LONGEST_SHOWN) return "";
  const ranked = known
    .map((word) => ({ word, distance: editDistance(written.toLowerCase(), word.toLowerCase()) }))
    .toSorted((a, b) => a.distance - b.distance);
  const near = ranked.filter(({ word, distance }, index) => index === 0 && distance <= Math.ceil(word.length / 3))[0]?.word;
  const best =
    near ?? (written.length < SHORTEST_PART ? undefined : known.find((word) => word.toLowerCase().includes(written.toLowerCase())));
  return best === undefined ? "" : ` Did you mean ${JSON.stringify(best)}?`;
}

/** Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/** "a, b and c". */
export function listWords(words: readonly string[], last = "and"): string {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} ${last} ${words.at(-1) ?? ""}`;
}
