import * as z from "zod";
import { show } from "../text.ts";
import { textWith } from "./scalars.ts";

export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** Reads "443" or "8000-8010", both ends included; undefined for anything else. */
export function parsePort(text: string): PortRange | undefined {
  const [, first = "", last = first] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text) ?? [];
  const range = { first: Number(first), last: Number(last) };
  return range.first >= 1 && range.last <= 65_535 && range.first <= range.last ? range : undefined;
}

export const parsePorts = (ports: readonly string[]): readonly PortRange[] => ports.flatMap((port) => parsePort(port) ?? []);

/** Fifteen ports is what one rule of the kernel takes, and a range counts twice. */
const MOST = 7;

/** Ports and ranges of ports, as texts. */
export const portList = (): z.ZodArray<z.ZodString> =>
  z
    .array(
      textWith((text) =>
        parsePort(text) === undefined
          ? `${show(text)} is no port. Write a number from 1 to 65535 in quotes, such as "443", or a range such as "8000-8010".`
          : undefined,
      ),
    )
    .max(MOST);
