import fc from "fast-check";
import { isJsonObject } from "../../api/json.ts";

/**
 * Objects that were sound until somebody changed one or a few of their places: a value exchanged, left out, doubled, moved or wrapped, a
 * key added. What is put in is hostile, or what other fields might hold. Always JSON, as it comes over the wire.
 */
export function mutated<T>(
  sound: readonly T[],
  {
    objectOf = (of: T): unknown => of,
    roots = ["spec", "metadata"],
  }: { readonly objectOf?: (of: T) => unknown; readonly roots?: readonly string[] } = {},
): fc.Arbitrary<{ readonly of: T; readonly object: unknown }> {
  const change = fc.record({
    where: fc.nat(),
    how: fc.nat({ max: HOW.length - 1 }),
    what: fc.oneof(hostile, fc.jsonValue({ maxDepth: 2 })),
    key: hostileKey,
  });
  return fc
    .record({ of: fc.constantFrom(...sound), changes: fc.array(change, { minLength: 1, maxLength: 3 }) })
    .map(({ of, changes }) => ({ of, object: changes.reduce<unknown>((object, next) => apply(object, next, roots), objectOf(of)) }));
}

interface Change {
  readonly where: number;
  readonly how: number;
  readonly what: unknown;
  readonly key: string;
}

const HOW = ["replace", "replace", "replace", "remove", "add", "wrap", "double", "swap"] as const;

const hostileTexts = [
  "",
  " ",
  "0",
  "-1",
  "1e999",
  "9999999999999999999h",
  "1h1h1h1h1h",
  "; $(reboot)",
  "a\nb",
  "a\r\nX-Other: 1",
  "\u0000",
  "-o",
  "𝓭elay",
  "\ud800",
  "\u202e",
  "../../etc/passwd",
  "*",
  "**",
  "[",
  "%",
  "100%",
  "{{x}}",
  "__proto__",
  "constructor",
  "toString",
  "x".repeat(70),
  "x".repeat(5000),
  "*a".repeat(400),
  "[".repeat(1000),
  "1".repeat(1000),
  "1.".repeat(150),
  "a,".repeat(500),
  "=".repeat(400),
  "* * * * *",
  "@every 1s",
  "http://[::1]/",
  "2024-02-30T25:61:00Z",
];
const hostileNumbers = [0, -0, -1, 0.5, 1e308, -1e308, 2 ** 31, 2 ** 32, 2 ** 53, -(2 ** 53), 65_536];
const hostile = fc.constantFrom<unknown>(
  ...hostileTexts,
  ...hostileNumbers,
  null,
  true,
  false,
  [],
  {},
  [[]],
  [null],
  [{}],
  Array(2000).fill("a"),
  deep(200),
);
const hostileKey = fc.oneof(
  fc.constantFrom(
    "__proto__",
    "constructor",
    "prototype",
    "toString",
    "hasOwnProperty",
    "length",
    "0",
    "",
    "then",
    "toJSON",
    "x".repeat(3000),
    "a.b[0]\n",
  ),
  fc.string({ maxLength: 8 }),
);

function deep(levels: number): unknown {
  let value: unknown = "end";
  for (let level = 0; level < levels; level++) value = level % 2 === 0 ? { a: value } : [value];
  return value;
}

type Place = readonly (string | number)[];

/** Every place below the roots, and these. */
function placesOf(value: unknown, roots: readonly string[], at: Place = []): readonly Place[] {
  if (at.length > 12) return [];
  if (Array.isArray(value)) return value.slice(0, 20).flatMap((item, index) => [[...at, index], ...placesOf(item, roots, [...at, index])]);
  if (!isJsonObject(value)) return [];
  return Object.keys(value)
    .filter((key) => at.length > 0 || roots.includes(key))
    .flatMap((key) => [[...at, key], ...placesOf(value[key], roots, [...at, key])]);
}

function apply(object: unknown, { where, how, what, key }: Change, roots: readonly string[]): unknown {
  const places = placesOf(object, roots);
  const place = places[where % Math.max(1, places.length)];
  if (place === undefined) return what;
  const other = at(object, places[(where * 7 + 3) % places.length] ?? []);
  switch (HOW[how]) {
    case "replace":
      return change(object, place, () => [what]);
    case "remove":
      return change(object, place, () => []);
    case "add":
      return change(object, place, (value) => [
        isJsonObject(value) ? withMember(value, key, what) : Array.isArray(value) ? [...value, what] : what,
      ]);
    case "wrap":
      return change(object, place, (value) => [where % 2 === 0 ? [value] : withMember({}, key, value)]);
    case "double":
      return change(object, place, (value) => [
        typeof value === "string" ? value + value : Array.isArray(value) ? [...value, ...value] : value,
        value,
      ]);
    case "swap":
    case undefined:
      return change(object, place, () => [other]);
  }
}

/** An own member, whatever its name: `{...{}, ["__proto__"]: x}` would set the prototype. */
const withMember = (object: object, key: string, value: unknown): object => Object.fromEntries([...Object.entries(object), [key, value]]);

function at(value: unknown, place: Place): unknown {
  return place.reduce<unknown>((holder, key) => {
    if (Array.isArray(holder)) return holder[Number(key)];
    return isJsonObject(holder) && Object.hasOwn(holder, key) ? holder[key] : undefined;
  }, value);
}

/** The value with what stands at a place exchanged for none, one or several values; of several, a list takes all and an object the first. */
function change(value: unknown, [key, ...rest]: Place, to: (value: unknown) => readonly unknown[]): unknown {
  if (key === undefined) return to(value)[0];
  if (Array.isArray(value))
    return value.flatMap((item: unknown, index) => (index !== key ? [item] : rest.length > 0 ? [change(item, rest, to)] : to(item)));
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, member]) => {
      if (name !== key) return [[name, member]];
      return rest.length > 0
        ? [[name, change(member, rest, to)]]
        : to(member)
            .slice(0, 1)
            .map((changed) => [name, changed]);
    }),
  );
}
