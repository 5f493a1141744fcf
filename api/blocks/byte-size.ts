import type { z } from "zod";
import { show } from "../text.ts";
import { textWith } from "./scalars.ts";

/** An amount of memory, in bytes or as a share of what there is. */
export type ByteSize = { readonly is: "bytes"; readonly bytes: number } | { readonly is: "share"; readonly percent: number };

const SIZE = /^([+]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,3})?) ?(?:([kmgtp]?)(i?)b|([kmgtp]?))$/;
const POWERS = ["", "k", "m", "g", "t", "p"] as const;

/**
 * Reads "256MB", "1.5 GiB", "1024" or "25%"; undefined for anything else. As Chaos Mesh has it: case does not matter, k, m, g, t and p
 * count in thousands, with an i in 1,024s.
 */
export function parseByteSize(text: string): ByteSize | undefined {
  const share = /^[+]?(\d{1,3})%$/.exec(text);
  if (share) {
    const percent = Number(share[1]);
    return percent <= 100 ? { is: "share", percent } : undefined;
  }
  const [, amount = "", withB = "", binary = "", bare = ""] = SIZE.exec(text.toLowerCase()) ?? [];
  if (amount === "" || (binary !== "" && withB === "")) return undefined;
  const scale = (binary === "" ? 1_000 : 1_024) ** POWERS.findIndex((power) => power === (withB || bare));
  const bytes = Number(amount) * scale;
  return Number.isFinite(bytes) ? { is: "bytes", bytes } : undefined;
}

export function problemWithByteSize(text: string): string | undefined {
  if (parseByteSize(text) !== undefined) return undefined;
  const [, amount, unit] = /^(\d{1,9})([kmgtp]i)$/i.exec(text) ?? [];
  if (amount !== undefined) return `${show(text)} needs a B at its end. Write ${show(`${amount}${unit}B`)}.`;
  const [, whole, rest] = /^[+-]?(\d{1,9})(\.\d*)?%$/.exec(text) ?? [];
  if (whole !== undefined && rest !== undefined) return `${show(text)} is no whole percentage. Write one such as ${show(`${whole}%`)}.`;
  if (whole !== undefined) return `${show(text)} is outside 0 to 100 %. Write a share of the memory such as "25%".`;
  return `${show(text)} is no size. Write a number and a unit such as "256MB" or "1GiB", or a share of the memory such as "25%".`;
}

/** The empty text stands for no size, as Chaos Mesh's dashboard writes it. */
export const byteSizeOrEmpty = (): z.ZodString => textWith((text) => (text === "" ? undefined : problemWithByteSize(text)), { max: 64 });
