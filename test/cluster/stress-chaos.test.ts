import { tellStressRows } from "./stress-rows.ts";

tellStressRows({ where: "on cgroups of version 1 or whichever this machine has", namespace: "busy-street", kernel: "machine" });
