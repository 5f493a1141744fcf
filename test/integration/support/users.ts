import { randomUUID } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { parse, stringify } from "yaml";
import * as z from "zod";
import { connectKube, type KubeConnection } from "../../../kube/client.ts";
import type { Kube } from "../../../kube/kube.ts";
import { resourceOf } from "../../../kube/resources.ts";
import { renderKubeconfig } from "../../../lab/kubeconfig.ts";
import { openLabAuthority } from "../../../lab/pki.ts";
import type { TestApiServer } from "../../support/api-server.ts";
import { anyResource } from "./served-kinds.ts";
import { documents } from "./webhook.ts";

/** Somebody who talks to the API server. */
export interface User {
  readonly kube: KubeConnection;
  readonly kubeconfig: string;
}

/** A person with a client certificate, in one group or none. */
export async function connectPerson(
  api: TestApiServer,
  { name, group }: { readonly name: string; readonly group?: string },
): Promise<User> {
  const client = await openLabAuthority(api.ca).issue({ commonName: name, ...(group !== undefined && { organization: group }) });
  return connectWith(api, renderKubeconfig({ server: api.url, ca: api.ca.certificate, client }));
}

export const serviceAccounts = anyResource("", "v1", "ServiceAccount", "serviceaccounts", true);

/** A service account that is there already, with a token of its own. */
export async function connectServiceAccount(api: TestApiServer, admin: Kube, namespace: string, name: string): Promise<User> {
  const tokens = resourceOf(
    { group: "", version: "v1", kind: "TokenRequest", plural: `serviceaccounts/${name}/token`, isNamespaced: true },
    z.object({ status: z.object({ token: z.string() }) }),
  );
  const request = { apiVersion: "authentication.k8s.io/v1", metadata: { namespace }, spec: { expirationSeconds: 3_600 } };
  const { token } = (await admin.create(tokens, request)).status;
  const nobody = { certificate: "", key: "" };
  const config = parse(renderKubeconfig({ server: api.url, ca: api.ca.certificate, client: nobody })) as object;
  return connectWith(api, stringify({ ...config, users: [{ name: "admin", user: { token } }] }));
}

async function connectWith(api: TestApiServer, text: string): Promise<User> {
  const kubeconfig = join(dirname(api.kubeconfig), `user-${randomUUID()}`);
  await writeFile(kubeconfig, text, { mode: 0o600 });
  return { kubeconfig, kube: connectKube({ process: "test", version: "0", kubeconfig }) };
}

const rbac = (kind: string, plural: string, isNamespaced: boolean) =>
  anyResource("rbac.authorization.k8s.io", "v1", kind, plural, isNamespaced);
export const clusterRoles = rbac("ClusterRole", "clusterroles", false);
export const clusterRoleBindings = rbac("ClusterRoleBinding", "clusterrolebindings", false);
export const roleBindings = rbac("RoleBinding", "rolebindings", true);
const accessResources = [serviceAccounts, clusterRoles, clusterRoleBindings, rbac("Role", "roles", true), roleBindings];

/** Makes the accounts, roles and bindings of manifests of this repository, and nothing else of them. */
export async function installAccess(admin: Kube, files: readonly string[]): Promise<void> {
  for (const document of files.flatMap(documents)) {
    const resource = accessResources.find(({ kind }) => kind === document.kind);
    if (resource !== undefined) await admin.create(resource, document);
  }
}

export type Subject =
  | { readonly kind: "User" | "Group"; readonly name: string }
  | { readonly kind: "ServiceAccount"; readonly name: string; readonly namespace: string };

/** Gives a ClusterRole to somebody, in one namespace, or in the cluster where none is named. Gives the name of the binding. */
export async function bind(admin: Kube, clusterRole: string, subject: Subject, namespace?: string): Promise<string> {
  const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: clusterRole };
  const subjects = [subject.kind === "ServiceAccount" ? subject : { ...subject, apiGroup: roleRef.apiGroup }];
  const name = randomUUID();
  if (namespace === undefined) await admin.create(clusterRoleBindings, { metadata: { name }, roleRef, subjects });
  else await admin.create(roleBindings, { metadata: { namespace, name }, roleRef, subjects });
  return name;
}
