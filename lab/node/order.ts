import * as z from "zod";
import { nodePrograms } from "../programs.ts";

/** What `up` tells the nodes' first processes, kept in the state folder: what the cluster consists of and where the programs are. */
export const nodeOrder = z.object({
  binaries: z.record(z.enum(nodePrograms), z.string()),
  ipFamilies: z.enum(["ipv4", "dual"]),
  hasUml: z.boolean(),
});

export type NodeOrder = z.output<typeof nodeOrder>;
