import type { NodeFamily } from "./node-family.ts";
