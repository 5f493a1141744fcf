/** The programs that the lab runs, with the versions it was tried with. */

/**
 * 1.34 is the last line that accepts cgroup v1 without asking and containerd 1.x, which is what Debian 12 has.
 * The same version is in lab/kubernetes/go.mod.
 */
const KUBERNETES = "1.34.4";
/** Not Debian's 3.4: with it, watches that ask for bookmarks fail. The same version is in lab/etcd/go.mod. */
const ETCD = "3.6.6";
const COREDNS = "1.12.4";

/** How a program is made where neither cache nor download has it. */
export type Recipe =
  /** `go build` in a folder of lab/ whose go.mod pins everything. */
  | { readonly how: "go-module"; readonly folder: string; readonly ldflags: string; readonly package: string }
  /** `go install` of one package at one version. */
  | { readonly how: "go-install"; readonly ldflags: string; readonly package: string };

export interface Program {
  readonly version: string;
  readonly recipe: Recipe;
  /** Published beside its SHA-256 under this address; absent where there is no plain file to fetch. */
  readonly download?: string;
  /** What `--version` must contain for a program found in $KUBEBUILDER_ASSETS to be taken; absent for those never found there. */
  readonly foundWhenVersionHas?: string;
}

const kubernetesFlags = `-s -w -X k8s.io/component-base/version.gitVersion=v${KUBERNETES} -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34`;

function kubernetes(name: string): Program {
  return {
    version: KUBERNETES,
    recipe: { how: "go-module", folder: "kubernetes", ldflags: kubernetesFlags, package: `k8s.io/kubernetes/cmd/${name}` },
    download: `https://dl.k8s.io/v${KUBERNETES}/bin/linux/${process.arch === "arm64" ? "arm64" : "amd64"}/${name}`,
    foundWhenVersionHas: "v1.34.",
  };
}

export const programs = {
  "kube-apiserver": kubernetes("kube-apiserver"),
  "kube-controller-manager": kubernetes("kube-controller-manager"),
  "kube-scheduler": kubernetes("kube-scheduler"),
  kubelet: kubernetes("kubelet"),
  "kube-proxy": kubernetes("kube-proxy"),
  kubectl: kubernetes("kubectl"),
  etcd: {
    version: ETCD,
    recipe: { how: "go-module", folder: "etcd", ldflags: "-s -w", package: "go.etcd.io/etcd/server/v3" },
    foundWhenVersionHas: "3.6.",
  },
  coredns: {
    version: COREDNS,
    recipe: { how: "go-install", ldflags: "-s -w", package: `github.com/coredns/coredns@v${COREDNS}` },
  },
} as const satisfies Readonly<Record<string, Program>>;

export type ProgramName = keyof typeof programs;

/** What the API-server-only mode needs. */
export const apiServerPrograms = ["etcd", "kube-apiserver"] as const satisfies readonly ProgramName[];
/** What a whole node needs. */
export const nodePrograms = [
  "etcd",
  "kube-apiserver",
  "kube-controller-manager",
  "kube-scheduler",
  "kubelet",
  "kube-proxy",
  "kubectl",
  "coredns",
] as const satisfies readonly ProgramName[];
