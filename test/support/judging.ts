import assert from "node:assert/strict";
import { isJsonObject } from "../../api/json.ts";
import { type KindName, kinds } from "../../api/kinds/registry.ts";

const around = { namespace: "shop" };
const LONGEST_PATH = 2_000;
const LONGEST_MESSAGE = 1_000;

/**
 * Judges an object and holds the answer to what every answer owes: mistakes have a path that leads to a place of the object or to one that is
 * missing there, and a short message on one line; what is admitted is admitted again unchanged, and can be read by the controller.
 */
export function checkJudging(kind: KindName, object: unknown): void {
  const judged = kinds[kind].judge(object, around);
  if (!judged.ok) {
    assert.ok(judged.errors.length > 0, "refused without a mistake");
    for (const { path, message } of judged.errors) {
      // What is no object at all has no places; its kind is named instead.
      if (isJsonObject(object)) checkPath(path, object);
      else assert.equal(path, kind);
      checkText(path, LONGEST_PATH);
      checkText(message, LONGEST_MESSAGE);
    }
    return;
  }
  checkText(judged.explanation, 1_000_000);
  for (const { path, message } of judged.ineffective) {
    checkPath(path, judged.object);
    checkText(path, LONGEST_PATH);
    checkText(message, LONGEST_MESSAGE);
  }
  const again = kinds[kind].judge(judged.object, around);
  assert.ok(again.ok, `admitted, and then refused: ${JSON.stringify(again)}`);
  const asStored = JSON.stringify(judged.object);
  assert.equal(JSON.stringify(again.object), asStored);
  assert.equal(JSON.stringify(kinds[kind].parseSpec(JSON.parse(asStored), around)), JSON.stringify(judged.spec));
}

function checkText(text: string, longest: number): void {
  assert.ok(text.length > 0 && text.length <= longest, `${text.length} characters: ${text.slice(0, 200)}`);
  assert.ok(!/\p{Cc}/u.test(text), `a control character in ${JSON.stringify(text.slice(0, 200))}`);
}

/** A path may end where the object does, and never goes on through a text or a number. */
function checkPath(path: string, object: unknown): void {
  let holder: unknown = object;
  for (const part of partsOf(path)) {
    if (holder === undefined || holder === null) return;
    assert.ok(typeof holder === "object", `${path.slice(0, 200)} leads through ${JSON.stringify(holder)}`);
    if (Array.isArray(holder)) holder = holder[Number(part)];
    else holder = isJsonObject(holder) && Object.hasOwn(holder, part) ? holder[part] : undefined;
  }
}

/** `spec.a["b.c"][0]` as its parts. */
function partsOf(path: string): readonly string[] {
  const parts: string[] = [];
  let rest = `.${path}`;
  while (rest !== "") {
    const match = /^\.([A-Za-z_][A-Za-z0-9_-]*)|^\[(\d+)\]|^\[("(?:[^"\\]|\\.)*"(?:\.\.\.)?|"[^\]]*\.\.\.)\]/.exec(rest);
    assert.ok(match, `${path.slice(0, 200)} is no path`);
    // A key that was too long to be shown is cut; it need not be found again.
    parts.push(match[1] ?? match[2] ?? (match[3]?.endsWith("...") ? "" : (JSON.parse(match[3] ?? '""') as string)));
    rest = rest.slice(match[0].length);
  }
  return parts;
}
