import { tellNetworkRows } from "./network-rows.ts";

tellNetworkRows({ where: "by NFQUEUE", namespace: "known-street", kernelOf: () => "machine" });
