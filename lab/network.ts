import { clusterAddresses, type IpFamily } from "./node/addresses.ts";
import { lab, nodes } from "./node/layout.ts";
import { run } from "./run.ts";

/** Makes the network namespace of the first node, with a cable to this machine. Nothing else of this machine's network is touched. */
export async function createNetwork(families: readonly IpFamily[]): Promise<void> {
  await run(["ip", "netns", "add", lab.namespace]);
  await run(["ip", "link", "add", lab.hostDevice, "type", "veth", "peer", "name", "eth0", "netns", lab.namespace]);
  for (const family of families) {
    await addAddress([], family, nodes.lab[family].gateway, lab.hostDevice);
    await addAddress(inside, family, nodes.lab[family].address, "eth0");
  }
  await run(["ip", "link", "set", lab.hostDevice, "up"]);
  await run(["ip", ...inside, "link", "set", "eth0", "up"]);
  for (const family of families) await run(["ip", ...inside, "route", "add", "default", "via", nodes.lab[family].gateway]);
}

/** Adds a cable to it for the second node, whose kernel opens the device by its name, and the way to the pods there. */
export async function addUmlCable(families: readonly IpFamily[]): Promise<void> {
  await run(["ip", ...inside, "tuntap", "add", "mode", "tap", "name", lab.umlDevice]);
  for (const family of families) await addAddress(inside, family, nodes.uml[family].gateway, lab.umlDevice);
  await run(["ip", ...inside, "link", "set", lab.umlDevice, "up"]);
  for (const family of families) {
    await run(["ip", ...inside, "route", "add", nodes.uml[family].pods, "via", nodes.uml[family].address, "dev", lab.umlDevice]);
  }
}

const inside = ["-n", lab.namespace] as const;

async function addAddress(where: readonly string[], family: IpFamily, address: string, device: string): Promise<void> {
  // Nobody else can have an IPv6 address of this cable: looking for others would only take time.
  const options = family === "ipv6" ? ["nodad"] : [];
  const { prefixLength } = clusterAddresses[family];
  await run(["ip", ...where, "address", "add", `${address}/${prefixLength}`, "dev", device, ...options]);
}

/** Takes it away, as far as it is there. */
export async function removeNetwork(): Promise<void> {
  if (await hasNetwork()) await run(["ip", "netns", "delete", lab.namespace]);
  // The cable goes with the namespace, but a moment later.
  if ((await run(["ip", "-json", "link", "show"])).includes(`"${lab.hostDevice}"`)) {
    await run(["ip", "link", "delete", lab.hostDevice]).catch(async (error: unknown) => {
      if ((await run(["ip", "-json", "link", "show"])).includes(`"${lab.hostDevice}"`)) throw error;
    });
  }
}

/** Whether the namespace is there. */
export async function hasNetwork(): Promise<boolean> {
  const names = (await run(["ip", "netns", "list"])).split("\n").map((line) => line.split(" ")[0]);
  return names.includes(lab.namespace);
}

/**
 * The processes in it, by this machine's ids: those of the first node, and of the second every one, as its kernel is a process too. Pods of
 * the first node have namespaces of their own and are not among them.
 */
export async function listNetworkProcesses(): Promise<readonly number[]> {
  if (!(await hasNetwork())) return [];
  return (await run(["ip", "netns", "pids", lab.namespace])).split("\n").filter(Boolean).map(Number);
}
