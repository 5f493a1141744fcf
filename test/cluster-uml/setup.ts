import { endStoryCluster, storyCluster } from "../cluster/support/cluster.ts";

/** Mocha's: the stories of this suite want a second node on a kernel of its own, and IPv6. */
export async function mochaGlobalSetup(): Promise<void> {
  await storyCluster({ hasUml: true, ipFamilies: "dual" });
}

export async function mochaGlobalTeardown(): Promise<void> {
  await endStoryCluster();
}
