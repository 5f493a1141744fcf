import type { Progress } from "./progress.ts";
import { CommandError, run } from "./run.ts";

/** Debian packages for running a node. */
export const nodePackages = [
  "containerd",
  "runc",
  "containernetworking-plugins",
  "iptables",
  "ipset",
  "iproute2",
  "conntrack",
  "socat",
  "kmod",
  "tini",
] as const;
/** Debian packages for stressing containers, which the image has as well. */
export const stressPackages = ["stress-ng"] as const;
/** Debian packages for making images. */
export const imagePackages = ["buildah", "mmdebstrap"] as const;

/** Those that dpkg does not have in place. Throws where there is no dpkg. */
export async function findMissingPackages(names: readonly string[]): Promise<readonly string[]> {
  // One by one: about an unknown package dpkg-query complains and fails, even if it knows all others.
  const answers = await Promise.all(names.map(askDpkg));
  return missingIn(names, answers.join(""));
}

async function askDpkg(name: string): Promise<string> {
  try {
    return await run(["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", name]);
  } catch (error) {
    if (error instanceof CommandError && error.exitCode !== undefined) return "";
    throw new Error("The lab takes what it needs from Debian packages, and this machine has no dpkg-query.", { cause: error });
  }
}

/** Reads lines `NAME STATUS` of dpkg-query(1). */
export function missingIn(names: readonly string[], dpkgAnswer: string): readonly string[] {
  const lines = new Set(dpkgAnswer.split("\n"));
  return names.filter((name) => !lines.has(`${name} installed`));
}

/** The one command that installs them, for a person to type. */
export function installCommand(missing: readonly string[]): string {
  return `sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing.join(" ")}`;
}

/** Installs what is missing, after saying so. Throws an Error with the command to type when this process is not root. */
export async function ensurePackages(
  names: readonly string[],
  { isRoot, progress }: { readonly isRoot: boolean; readonly progress: Progress },
): Promise<void> {
  const missing = await findMissingPackages(names);
  if (missing.length === 0) return;
  if (!isRoot) throw new Error(`The lab needs Debian packages that are not installed. Run:\n  ${installCommand(missing)}`);
  progress.say(`The lab needs Debian packages. Installing now: ${missing.join(", ")}.`);
  await progress.during("Installing Debian packages", async (note) => {
    await run(["apt-get", "update"], { onLine: note });
    await run(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "--no-install-recommends", ...missing], {
      onLine: note,
    });
  });
}
