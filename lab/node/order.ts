import * as z from "zod";
import { nodePrograms } from "../programs.ts";

/** What `up` tells the node's first process, kept in the state folder: where the programs are. */
export const nodeOrder = z.object({ binaries: z.record(z.enum(nodePrograms), z.string()) });
