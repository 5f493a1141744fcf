import { createTwoHosts } from "../test/netns/support/two-hosts.ts";

/** Runs inside a User-Mode Linux kernel for bench/network-apply.ts: the bundle that it is given, in a network namespace with a device. */

const hosts = await createTwoHosts();
process.stdout.write(await hosts.left.run(process.execPath, process.argv[2] ?? ""));
await hosts.close();
