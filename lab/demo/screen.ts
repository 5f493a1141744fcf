import { styleText } from "node:util";
import { describeFigures, type Figures } from "./figures.ts";

/** How the story looks in a terminal, or in a log without one. */
export interface Screen {
  chapter(title: string): void;
  say(text: string): void;
  /** A command that a user would type; it is run right after. */
  command(text: string): void;
  /** Output of a command, indented. */
  output(text: string): void;
  /** Figures of the last second; on a terminal the line is written over itself. */
  live(label: string, figures: Figures): void;
  verdict(text: string, holds: { readonly holds: boolean }): void;
}

const BAR_MS = 12;

export function createScreen(stream: NodeJS.WriteStream): Screen {
  let isLineOpen = false;
  const line = (text: string): void => {
    stream.write(`${isLineOpen ? "\n" : ""}${text}\n`);
    isLineOpen = false;
  };
  const paint = (format: Parameters<typeof styleText>[0], text: string): string => (stream.isTTY ? styleText(format, text) : text);
  return {
    chapter: (title) => line(`\n${paint("bold", `== ${title}`)}`),
    say: (text) => line(text),
    command: (text) => line(paint("cyan", `  $ ${text}`)),
    output: (text) =>
      line(
        text
          .trimEnd()
          .split("\n")
          .map((part) => paint("dim", `    ${part}`))
          .join("\n"),
      ),
    live(label, figures) {
      const bar = "#".repeat(Math.min(40, Math.ceil((figures.medianMs ?? 0) / BAR_MS)));
      const text = `    ${label.padEnd(16)} ${describeFigures(figures).padEnd(36)} ${bar}`;
      if (stream.isTTY) {
        stream.write(`\r\u001b[2K${paint(figures.answered === figures.requests ? "green" : "yellow", text)}`);
        isLineOpen = true;
      } else line(text.trimEnd());
    },
    verdict: (text, { holds }) => line(`  ${holds ? paint("green", "ok  ") : paint("red", "NOT ")} ${text}`),
  };
}
