import { run } from "./run.ts";
import { node } from "./node/layout.ts";

/** Makes the node's network namespace, with a cable to this machine. Nothing else of this machine's network is touched. */
export async function createNetwork(): Promise<void> {
  const prefix = "24";
  await run(["ip", "netns", "add", node.namespace]);
  await run(["ip", "link", "add", node.hostDevice, "type", "veth", "peer", "name", "eth0", "netns", node.namespace]);
  await run(["ip", "address", "add", `${node.hostAddress}/${prefix}`, "dev", node.hostDevice]);
  await run(["ip", "link", "set", node.hostDevice, "up"]);
  const inside = ["ip", "-n", node.namespace];
  await run([...inside, "address", "add", `${node.address}/${prefix}`, "dev", "eth0"]);
  await run([...inside, "link", "set", "eth0", "up"]);
  await run([...inside, "route", "add", "default", "via", node.hostAddress]);
}

/** Takes it away, as far as it is there. */
export async function removeNetwork(): Promise<void> {
  if (await hasNetwork()) await run(["ip", "netns", "delete", node.namespace]);
  // The cable goes with the namespace, but a moment later.
  if ((await run(["ip", "-json", "link", "show"])).includes(`"${node.hostDevice}"`)) {
    await run(["ip", "link", "delete", node.hostDevice]).catch(async (error: unknown) => {
      if ((await run(["ip", "-json", "link", "show"])).includes(`"${node.hostDevice}"`)) throw error;
    });
  }
}

/** Whether the namespace is there. */
export async function hasNetwork(): Promise<boolean> {
  const names = (await run(["ip", "netns", "list"])).split("\n").map((line) => line.split(" ")[0]);
  return names.includes(node.namespace);
}

/** The processes in it, by this machine's ids; pods have namespaces of their own and are not among them. */
export async function listNetworkProcesses(): Promise<readonly number[]> {
  if (!(await hasNetwork())) return [];
  return (await run(["ip", "netns", "pids", node.namespace])).split("\n").filter(Boolean).map(Number);
}
