import { readFile } from "node:fs/promises";
import { countPackets } from "../agent/network/explain.ts";
import type { Programs } from "../agent/programs.ts";
import { sidecarPaths } from "../common/sidecar-layout.ts";
import type { Explanation } from "./explanation.ts";

/** The explanation with the packets that rules counted up to now, as JSON. */
export async function printExplanation(programs: Programs): Promise<string> {
  const written = JSON.parse(await readFile(sidecarPaths.explained, "utf8")) as Explanation;
  const { iptables, families } = written.passport;
  const saves = families.map((family) => `${family === "ipv4" ? "iptables" : "ip6tables"}-${iptables}-save`);
  const texts = await Promise.all(saves.map(async (name) => (await programs.run({ argv: [name, "-c"] })).stdout));
  return `${JSON.stringify({ ...written, classes: countPackets(written.classes, texts.join("\n")) })}\n`;
}
