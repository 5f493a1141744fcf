import { z } from "zod";
import type { Programs } from "../programs.ts";

/** What the planner must know of the pod that it plans for. */
export interface PodFacts {
  /** Which of the two back ends of iptables this kernel serves. */
  readonly iptables: "nft" | "legacy";
  /** IPv4 addresses from which the kubelet's probes come: the node's own and the pod's default gateways. */
  readonly probeSources: readonly string[];
  /** TCP ports that the kubelet probes. */
  readonly probePorts: readonly number[];
  /** TCP port of the agent. */
  readonly agentPort: number;
}

const routes = z.array(z.object({ gateway: z.string().optional() }));

/** Finds out what the surroundings allow. Throws where no back end of iptables works, naming what each of them said. */
export async function readPodFacts(
  programs: Programs,
  known: { readonly hostIps: readonly string[]; readonly probePorts: readonly number[]; readonly agentPort: number },
): Promise<PodFacts> {
  const { stdout } = await programs.run({ argv: ["ip", "-j", "-4", "route", "show", "default"] });
  const gateways = routes.parse(JSON.parse(stdout || "[]")).flatMap(({ gateway }) => gateway ?? []);
  const probeSources = [...new Set([...known.hostIps.filter((ip) => !ip.includes(":")), ...gateways])].toSorted();
  return {
    iptables: await findBackend(programs),
    probeSources,
    probePorts: [...new Set(known.probePorts)].toSorted((a, b) => a - b),
    agentPort: known.agentPort,
  };
}

async function findBackend(programs: Programs): Promise<PodFacts["iptables"]> {
  const complaints: string[] = [];
  for (const backend of ["nft", "legacy"] as const) {
    try {
      // The mangle table is the one that a kernel may lack; rules are loaded, not only listed, as listing an absent table succeeds.
      await programs.run({
        argv: [`iptables-${backend}-restore`, "--noflush", "--test"],
        stdin: "*mangle\n-A POSTROUTING -j RETURN\nCOMMIT\n",
      });
      return backend;
    } catch (error) {
      complaints.push(error instanceof Error ? error.message : String(error));
    }
  }
  throw new Error(`No iptables works here. ${complaints.join("; ")}`);
}
