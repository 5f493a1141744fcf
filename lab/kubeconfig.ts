import { stringify } from "yaml";
import type { KeyPair } from "./pki.ts";

/** A kubeconfig with everything inside, so that one file is enough. The context is called "squall-lab". */
export function renderKubeconfig({
  server,
  ca,
  client,
}: {
  readonly server: string;
  readonly ca: string;
  readonly client: KeyPair;
}): string {
  const base64 = (text: string): string => Buffer.from(text).toString("base64");
  return stringify(
    {
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "squall-lab", cluster: { server, "certificate-authority-data": base64(ca) } }],
      users: [{ name: "admin", user: { "client-certificate-data": base64(client.certificate), "client-key-data": base64(client.key) } }],
      contexts: [{ name: "squall-lab", context: { cluster: "squall-lab", user: "admin" } }],
      "current-context": "squall-lab",
    },
    { lineWidth: 0 },
  );
}
