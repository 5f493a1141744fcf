import { ENROLMENT_AUDIENCE } from "../common/names.ts";
import type { Kube } from "../kube/kube.ts";
import { type TokenReview, tokenReviews } from "../kube/resources.ts";

/** The pod that a token is bound to. */
export interface TokenPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly serviceAccount: string;
}

export type TokenVerdict = { readonly ok: true; readonly pod: TokenPod } | { readonly ok: false; readonly reason: string };

/**
 * Asks the API server whose token this is. It knows tokens that expired and tokens whose pod is gone. Throws a KubeError when
 * it cannot be asked. See https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens.
 */
export async function reviewToken(kube: Kube, token: string, signal?: AbortSignal): Promise<TokenVerdict> {
  const review = await kube.create(tokenReviews, { metadata: {}, spec: { token, audiences: [ENROLMENT_AUDIENCE] } }, {}, signal);
  return judgeReview(review);
}

/** What an answer means; pure. */
export function judgeReview({ status }: TokenReview): TokenVerdict {
  const refuse = (reason: string): TokenVerdict => ({ ok: false, reason });
  if (status.authenticated !== true) return refuse("The API server does not accept the token.");
  if (!status.audiences.includes(ENROLMENT_AUDIENCE)) return refuse(`The token is not for ${ENROLMENT_AUDIENCE}.`);
  const [, namespace, serviceAccount] = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(status.user?.username ?? "") ?? [];
  if (namespace === undefined || serviceAccount === undefined) return refuse("The token is not a service account's.");
  const only = (key: string): string | undefined => {
    const values = status.user?.extra[`authentication.kubernetes.io/${key}`];
    return values?.length === 1 ? values[0] : undefined;
  };
  const name = only("pod-name");
  const uid = only("pod-uid");
  if (name === undefined || uid === undefined) return refuse("The token is not bound to a pod.");
  return { ok: true, pod: { namespace, name, uid, serviceAccount } };
}
