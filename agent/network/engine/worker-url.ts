/** Where the engine's thread begins. From source it is worker.ts beside this file; among bundles it is one of its own in their folder. */
export function workerUrl(ownUrl: string): URL {
  return new URL(ownUrl.endsWith(".ts") ? "./worker.ts" : "./sidecar-engine.mjs", ownUrl);
}
