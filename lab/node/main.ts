import { mkdir, readFile, writeFile } from "node:fs/promises";
import { assertNever } from "../../common/assert-never.ts";
import { bringUpFirstNode, bringUpUmlNode } from "./bring-up.ts";
import type { ClusterPlan } from "./components.ts";
import { type NodeName, nodeLayout, nodes, stateLayout } from "./layout.ts";
import { nodeOrder } from "./order.ts";
import { serveRequests } from "./requests.ts";

// A node's first own process, started by `lab up` where the node is to be: `main.ts STATE_FOLDER NODE_NAME`. When it ends, the node ends.
const [state = "", name = ""] = process.argv.slice(2);
const node = nodes[name as NodeName];
const layout = nodeLayout(state, node);
const started = performance.now();
const say = (line: string): void => console.log(`${((performance.now() - started) / 1000).toFixed(1)} s  ${line}`);

async function bringUp(plan: ClusterPlan): Promise<void> {
  switch (node.name) {
    case "lab":
      return await bringUpFirstNode(plan, say);
    case "uml":
      return await bringUpUmlNode(plan, say);
    default:
      return assertNever(node.name);
  }
}

try {
  const { binaries, ipFamilies } = nodeOrder.parse(JSON.parse(await readFile(stateLayout(state).order, "utf8")));
  await bringUp({ state, binaries, ipFamilies });
  await mkdir(layout.requests, { recursive: true });
  await writeFile(layout.ready, new Date().toISOString());
  say("the node is ready");
  await serveRequests(layout.requests, new AbortController().signal);
} catch (error) {
  await writeFile(layout.failed, error instanceof Error ? error.message : String(error));
  console.error(error);
  process.exit(1);
}
