import { join } from "node:path";
import { writeBundles } from "./bundles.ts";

// `npm run bundle`: what the Containerfile copies.
await writeBundles(join(import.meta.dirname, "..", "dist"));
