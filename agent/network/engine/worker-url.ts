/**
 * Where the engine's thread begins. From source it is worker.ts beside this file. In a bundle it is a bundle of its own
 * beside the process's: `/squall/sidecar.mjs` has `/squall/sidecar-engine.mjs`.
 */
export function workerUrl(ownUrl: string): URL {
  return ownUrl.endsWith(".ts") ? new URL("./worker.ts", ownUrl) : new URL(ownUrl.replace(/\.[cm]?js$/, "-engine.mjs"));
}
