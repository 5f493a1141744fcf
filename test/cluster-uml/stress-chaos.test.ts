import { tellStressRows } from "../cluster/stress-rows.ts";

tellStressRows({ where: "on cgroups of version 2", namespace: "busy-road", kernel: "uml" });
