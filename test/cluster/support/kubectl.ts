import { execFile } from "node:child_process";

interface KubectlOptions {
  readonly stdin?: string;
  readonly timeoutMs?: number;
  /** Variables beside those of this process. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface KubectlResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** kubectl as a person would run it, against one cluster. */
export interface Kubectl {
  /** Throws with what kubectl said when it exits with anything but 0. */
  (parameters: readonly string[], options?: KubectlOptions): Promise<string>;
  /** As above, but hands a failure back. */
  readonly attempt: (parameters: readonly string[], options?: KubectlOptions) => Promise<KubectlResult>;
  /** The command line of such a call, for whoever keeps it running. */
  readonly argv: (parameters: readonly string[]) => readonly string[];
}

export function createKubectl({ program, kubeconfig }: { readonly program: string; readonly kubeconfig: string }): Kubectl {
  const attempt: Kubectl["attempt"] = (parameters, { stdin, timeoutMs = 60_000, env = {} } = {}) =>
    new Promise((resolve, reject) => {
      const child = execFile(
        program,
        [...parameters],
        { env: { ...process.env, ...env, KUBECONFIG: kubeconfig }, timeout: timeoutMs, killSignal: "SIGKILL", maxBuffer: 64 << 20 },
        (error, stdout, stderr) => {
          if (error && typeof error.code !== "number" && !error.killed) reject(error);
          else resolve({ code: error ? Number(error.code ?? 137) : 0, stdout, stderr });
        },
      );
      child.stdin?.on("error", () => undefined); // kubectl may refuse before it has read everything
      child.stdin?.end(stdin ?? "");
    });
  const run = async (parameters: readonly string[], options?: KubectlOptions): Promise<string> => {
    const { code, stdout, stderr } = await attempt(parameters, options);
    if (code !== 0) throw new Error(`kubectl ${parameters.join(" ")} exited with ${code}: ${stderr || stdout}`);
    return stdout;
  };
  const argv: Kubectl["argv"] = (parameters) => [program, `--kubeconfig=${kubeconfig}`, ...parameters];
  return Object.assign(run, { attempt, argv });
}
