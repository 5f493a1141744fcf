/** Who is who inside Squall, as SPIFFE IDs (https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md). */

export const CONTROLLER_URI = "spiffe://squall/controller";

/** The pod that a certificate is bound to. */
export interface PodIdentity {
  readonly namespace: string;
  /** The pod's UID: a pod of the same name that comes later is somebody else. */
  readonly uid: string;
}

const NAMESPACE = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
/** A UUID for ordinary pods, a hash for static ones. */
const UID = /^[0-9A-Za-z]([-0-9A-Za-z]{0,62}[0-9A-Za-z])?$/;

/** Throws for a namespace or UID that no API server could have made. */
export function podUri({ namespace, uid }: PodIdentity): string {
  if (!NAMESPACE.test(namespace)) throw new Error(`${JSON.stringify(namespace.slice(0, 100))} is no namespace.`);
  if (!UID.test(uid)) throw new Error(`${JSON.stringify(uid.slice(0, 100))} is no UID of a pod.`);
  return `spiffe://squall/ns/${namespace}/pod/${uid}`;
}

/** A name of a node is a DNS subdomain (https://kubernetes.io/docs/concepts/architecture/nodes/#node-name-uniqueness). */
const NODE = /^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$/;

/** Throws for a name that no API server could have given a node. */
export function nodeUri(node: string): string {
  if (!NODE.test(node)) throw new Error(`${JSON.stringify(node.slice(0, 100))} is no name of a node.`);
  return `spiffe://squall/node/${node}`;
}

/** The pod of a URI that `podUri` made; undefined for any other text. */
export function parsePodUri(uri: string): PodIdentity | undefined {
  const [, namespace = "", uid = ""] = /^spiffe:\/\/squall\/ns\/([^/]+)\/pod\/([^/]+)$/.exec(uri) ?? [];
  return NAMESPACE.test(namespace) && UID.test(uid) ? { namespace, uid } : undefined;
}
