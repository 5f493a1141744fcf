/**
 * Compiles a glob over whole paths: `?`, `*`, `[a-z]` and `[!a-z]` stay within one name, `**` alone between two slashes stands for any number of
 * folders. The syntax of Chaos Mesh's file system; api/blocks/file-path.ts refuses what cannot be read.
 */
export function compileGlob(glob: string): (path: string) => boolean {
  const parts = glob.split("/");
  const last = parts.length - 1;
  const source = parts.map((part, index) => {
    if (part === "**") return index === last ? "[^]+" : `${index === 0 ? "/?" : ""}(?:[^/]+/)*`;
    return partSource(part) + (index === last ? "" : "/");
  });
  const pattern = new RegExp(`^${source.join("")}$`, "u");
  return (path) => pattern.test(path);
}

function partSource(part: string): string {
  let source = "";
  for (let at = 0; at < part.length; ) {
    const char = String.fromCodePoint(part.codePointAt(at) ?? 0);
    const end = char === "[" ? part.indexOf("]", part[at + 1] === "!" ? at + 3 : at + 2) : -1;
    if (end > 0) {
      const isNegated = part[at + 1] === "!";
      source += `(?!/)[${isNegated ? "^" : ""}${part.slice(at + (isNegated ? 2 : 1), end).replaceAll(/[\\\]^[&~|!#$%*+,.:;<=>?@`{}()/]/g, String.raw`\$&`)}]`;
      at = end + 1;
      continue;
    }
    if (char === "*") source += "[^/]*";
    else if (char === "?") source += "[^/]";
    else source += char.replaceAll(/[\\^$.*+?()[\]{}|/]/g, String.raw`\$&`);
    at += char.length;
  }
  return source;
}
