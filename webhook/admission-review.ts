import type { Operation } from "fast-json-patch";
import * as z from "zod";
import type { Author } from "../api/author.ts";

/** The part of admission.k8s.io/v1 that is spoken here; see https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/. */

const groupVersionKind = z.object({ group: z.string(), version: z.string(), kind: z.string() });
const object = z.record(z.string(), z.unknown());
const texts = z.array(z.string()).nullish();

/** Whoever sent the request, impersonation looked through; undefined where the review names nobody. */
const userInfo = z
  .object({ username: z.string().optional(), uid: z.string().optional(), groups: texts, extra: z.record(z.string(), texts).nullish() })
  .transform(({ username = "", uid, groups, extra }): Author | undefined => {
    if (username === "") return undefined;
    const listed = Object.entries(extra ?? {}).map(([key, values]): readonly [string, readonly string[]] => [key, values ?? []]);
    return { username, uid, groups: groups ?? [], extra: Object.fromEntries(listed) };
  });

const reviewSchema = z.object({
  apiVersion: z.literal("admission.k8s.io/v1"),
  kind: z.literal("AdmissionReview"),
  request: z.object({
    uid: z.string().min(1).max(200),
    kind: groupVersionKind,
    subResource: z.string().optional(),
    name: z.string().optional(),
    namespace: z.string().optional(),
    userInfo: userInfo.optional(),
    operation: z.enum(["CREATE", "UPDATE", "DELETE", "CONNECT"]),
    dryRun: z.boolean().nullish(),
    object: object.nullish(),
    oldObject: object.nullish(),
  }),
});
export type AdmissionRequest = z.output<typeof reviewSchema>["request"];

/** What a reviewer decided. `code` is our reason code, empty for a plain yes. */
export interface Verdict {
  readonly isAllowed: boolean;
  readonly code: string;
  /** For people; only shown by kubectl when the answer is no. */
  readonly message: string;
  readonly patch?: readonly Operation[] | undefined;
  readonly warnings?: readonly string[] | undefined;
  /** Of a no that time may mend: clients are asked to come again, and those of Kubernetes do. */
  readonly retryAfterSeconds?: number | undefined;
}

export const allowed: Verdict = { isAllowed: true, code: "", message: "" };

export type ParsedReview = { readonly ok: true; readonly request: AdmissionRequest } | { readonly ok: false; readonly problem: string };

export function parseReview(body: unknown): ParsedReview {
  const result = reviewSchema.safeParse(body);
  if (result.success) return { ok: true, request: result.data.request };
  const problems = result.error.issues.slice(0, 5).map((issue) => `${issue.path.join(".") || "the body"}: ${issue.message}`);
  return { ok: false, problem: `This is no AdmissionReview of admission.k8s.io/v1. ${problems.join("; ")}` };
}

/** Kubernetes shows at most 256 characters of a warning well. */
const LONGEST_WARNING = 256;

export function renderAnswer(uid: string, verdict: Verdict): object {
  const { isAllowed, code, patch, warnings } = verdict;
  return {
    apiVersion: "admission.k8s.io/v1",
    kind: "AdmissionReview",
    response: {
      uid,
      allowed: isAllowed,
      ...(isAllowed ? {} : { status: renderRefusal(verdict) }),
      ...(patch && patch.length > 0 ? { patchType: "JSONPatch", patch: Buffer.from(JSON.stringify(patch)).toString("base64") } : {}),
      ...(warnings && warnings.length > 0 ? { warnings: warnings.map((warning) => warning.slice(0, LONGEST_WARNING)) } : {}),
      ...(code === "" ? {} : { auditAnnotations: { reason: code } }),
    },
  };
}

function renderRefusal({ code, message, retryAfterSeconds }: Verdict): object {
  const shared = { status: "Failure", message: `${code}: ${message}` };
  if (retryAfterSeconds === undefined) return { ...shared, code: 403, reason: "Forbidden" };
  return { ...shared, code: 503, reason: "ServiceUnavailable", details: { retryAfterSeconds } };
}
