/** Whether a text looks like a pattern in which "*" stands for any text and "?" for one character. Takes at most text × pattern steps. */
export function matchesPattern(text: string, pattern: string): boolean {
  let [at, in_] = [0, 0];
  /** The last star, and where in the text what follows it was tried. */
  let star: { readonly pattern: number; readonly text: number } | undefined;
  while (at < text.length) {
    if (pattern[in_] === "*") {
      star = { pattern: in_, text: at };
      in_++;
    } else if (pattern[in_] === "?" || pattern[in_] === text[at]) {
      at++;
      in_++;
    } else if (star) {
      star = { ...star, text: star.text + 1 };
      at = star.text;
      in_ = star.pattern + 1;
    } else return false;
  }
  return /^\**$/.test(pattern.slice(in_));
}
