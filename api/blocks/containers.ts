import * as z from "zod";
import { listWords } from "../text.ts";
import { dnsLabel } from "./scalars.ts";

/** The `containerNames` of kinds that fault containers. */
export const containerNames = (): z.ZodOptional<z.ZodArray<z.ZodString>> =>
  z
    .array(dnsLabel("a container"))
    .max(100)
    .optional()
    .describe("Containers of each pod, regular ones only; the first by default. A pod that has none of them is no target.");

/** "container web of " or "containers web and proxy of ", for people; "the first container of " where none is named. */
export function describeContainers({ containerNames: names = [] }: { readonly containerNames?: readonly string[] | undefined }): string {
  if (names.length === 0) return "the first container of ";
  return `${names.length === 1 ? "container" : "containers"} ${listWords(names)} of `;
}
