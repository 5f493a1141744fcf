import { readFile, writeFile } from "node:fs/promises";
import { bringUp } from "./bring-up.ts";
import { stateLayout } from "./layout.ts";
import { nodeOrder } from "./order.ts";

// The node's first own process, started by `lab up` in namespaces of its own: `main.ts STATE_FOLDER`. When it ends, the node ends.
const state = process.argv[2] ?? "";
const layout = stateLayout(state);
const started = performance.now();
const say = (line: string): void => console.log(`${((performance.now() - started) / 1000).toFixed(1)} s  ${line}`);

try {
  const { binaries } = nodeOrder.parse(JSON.parse(await readFile(layout.order, "utf8")));
  await bringUp(state, binaries, say);
  await writeFile(layout.ready, new Date().toISOString());
  say("the node is ready");
} catch (error) {
  await writeFile(layout.failed, error instanceof Error ? error.message : String(error));
  console.error(error);
  process.exit(1);
}
