/** Where the serving thread begins. From source it is beside this file; among bundles it is one of its own in their folder. */
export function servingThreadUrl(ownUrl: string): URL {
  return new URL(ownUrl.endsWith(".ts") ? "./kernel/serving-thread.ts" : "./sidecar-files.mjs", ownUrl);
}
