import { tellNetworkRows } from "../cluster/network-rows.ts";

tellNetworkRows({ where: "on a kernel with netem and iptables-legacy", namespace: "known-street-uml", kernelOf: () => "uml" });
tellNetworkRows({
  where: "half of the pods on each of two kernels",
  namespace: "known-street-both",
  kernelOf: (peer) => (peer === "p0" || peer === "p3" ? "uml" : "machine"),
});
