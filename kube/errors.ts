import * as z from "zod";

/**
 * Why a call to the API server did not do what was asked. Only "not-found" means that the object is not there: every other
 * kind leaves that open.
 */
export type KubeErrorKind =
  | "not-found"
  /** A create for a name that is taken. */
  | "already-exists"
  /** Somebody changed the object first, or its UID is another one. */
  | "conflict"
  /** The resourceVersion is too old: list again. */
  | "gone"
  /** The object or the request breaks a rule; sending it again changes nothing. */
  | "invalid"
  | "unauthorized"
  /** RBAC, quota or an admission policy refused. */
  | "forbidden"
  /** See `retryAfterMs`. */
  | "too-many-requests"
  /** The server failed or could not be reached; whether the change was made is unknown. */
  | "unavailable"
  /** No answer in time; whether the change was made is unknown. */
  | "timeout"
  /** An answer that Kubernetes does not document. */
  | "unexpected";

export interface KubeErrorDetails {
  /** What the server said, without what it was asked. */
  readonly said?: string | undefined;
  /** Kubernetes' own CamelCase reason, such as "AlreadyExists". */
  readonly reason?: string | undefined;
  /** Which fields are wrong, of an "invalid" object. */
  readonly causes?: readonly FieldCause[] | undefined;
  /** How long the server asks to wait. */
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

export interface FieldCause {
  readonly field?: string | undefined;
  readonly reason?: string | undefined;
  readonly message?: string | undefined;
}

/** The one error that the methods of `Kube` throw, besides the reason of an aborted signal. */
export class KubeError extends Error {
  override readonly name = "KubeError";
  readonly kind: KubeErrorKind;
  readonly said: string | undefined;
  readonly reason: string | undefined;
  readonly causes: readonly FieldCause[];
  readonly retryAfterMs: number | undefined;

  constructor(kind: KubeErrorKind, message: string, details: KubeErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.kind = kind;
    this.said = details.said;
    this.reason = details.reason;
    this.causes = details.causes ?? [];
    this.retryAfterMs = details.retryAfterMs;
  }
}

/** Whether an error is a KubeError of one of these kinds. */
export function isKubeError(error: unknown, ...kinds: readonly KubeErrorKind[]): error is KubeError {
  return error instanceof KubeError && (kinds.length === 0 || kinds.includes(error.kind));
}

/** Whether time may mend it: the same call can succeed later. A conflict is not one of them, for the same call would conflict again. */
export function isTransient(error: unknown): error is KubeError {
  return isKubeError(error, "too-many-requests", "unavailable", "timeout");
}

const statusSchema = z.object({
  message: z.string().optional().catch(undefined),
  reason: z.string().optional().catch(undefined),
  code: z.number().optional().catch(undefined),
  details: z
    .object({
      causes: z
        .array(z.object({ field: z.string().optional(), reason: z.string().optional(), message: z.string().optional() }))
        .optional()
        .catch(undefined),
      retryAfterSeconds: z.number().optional().catch(undefined),
    })
    .optional()
    .catch(undefined),
});

/** An answer of the API server that is no success. */
export interface FailedAnswer {
  /** What was asked, such as "GET /api/v1/pods". */
  readonly request: string;
  readonly statusCode: number;
  /** The body, a `Status` object if all is well; proxies send anything. */
  readonly body: string;
  readonly retryAfter?: string | undefined;
}

const RETRY_AFTER_LIMIT_MS = 60_000;

/** Reads an answer that is no success. */
export function errorOfAnswer({ request, statusCode, body, retryAfter }: FailedAnswer): KubeError {
  const status = statusSchema.safeParse(parseJson(body)).data ?? {};
  const seconds = status.details?.retryAfterSeconds ?? (retryAfter === undefined ? Number.NaN : Number(retryAfter));
  const said = status.message ?? body.slice(0, 300).trim();
  return new KubeError(kindOf(statusCode, status.reason), `${request} was answered with ${statusCode}: ${said === "" ? "no text" : said}`, {
    said,
    reason: status.reason,
    causes: status.details?.causes,
    retryAfterMs: Number.isFinite(seconds) && seconds >= 0 ? Math.min(seconds * 1000, RETRY_AFTER_LIMIT_MS) : undefined,
  });
}

/** Reads the `Status` object inside an ERROR event of a watch. */
export function errorOfStatus(request: string, raw: unknown): KubeError {
  const code = statusSchema.safeParse(raw).data?.code ?? 500;
  return errorOfAnswer({ request, statusCode: code, body: JSON.stringify(raw) ?? "" });
}

/** Reads what the client of a web socket says: of an answer that is no success it tells the status code alone. */
export function errorOfUpgrade(request: string, said: string): KubeError {
  const [, statusCode] = /^Unexpected server response: (\d{3})$/.exec(said) ?? [];
  if (statusCode !== undefined) return errorOfAnswer({ request, statusCode: Number(statusCode), body: "" });
  return new KubeError("unavailable", `${request}: ${said}`, { said });
}

function kindOf(statusCode: number, reason: string | undefined): KubeErrorKind {
  // The reason decides where one code has several meanings; see k8s.io/apimachinery/pkg/apis/meta/v1/types.go, StatusReason.
  if (reason === "AlreadyExists") return "already-exists";
  if (reason === "Timeout" || reason === "ServerTimeout") return "timeout";
  if (statusCode === 400 || statusCode === 413 || statusCode === 415 || statusCode === 422) return "invalid";
  if (statusCode === 401) return "unauthorized";
  if (statusCode === 403) return "forbidden";
  if (statusCode === 404) return "not-found";
  if (statusCode === 408 || statusCode === 504) return "timeout";
  if (statusCode === 409) return "conflict";
  if (statusCode === 410) return "gone";
  if (statusCode === 429) return "too-many-requests";
  if (statusCode >= 500) return "unavailable";
  return "unexpected";
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // A proxy or a load balancer in between speaks its own language; the caller quotes it.
    return {};
  }
}
