import * as z from "zod";

/**
 * Who answers for an object: whoever created it or last changed its spec, as the API server knew them. Kept in the annotation
 * `squall.dev/author`, so that the controller can ask later what they may do. The same four fields, for the same reason, as in a
 * CertificateSigningRequest: https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/certificate-signing-request-v1/.
 */
export interface Author {
  readonly username: string;
  readonly uid?: string | undefined;
  readonly groups: readonly string[];
  /** What the authenticator added, such as scopes that narrow a token down. */
  readonly extra: Readonly<Record<string, readonly string[]>>;
}

export const authorSchema: z.ZodType<Author> = z.object({
  username: z.string().min(1),
  uid: z.string().optional(),
  groups: z.array(z.string()).default([]),
  extra: z.record(z.string(), z.array(z.string())).default({}),
});

/** Of all annotations together an object may have 256 KiB, and kubectl wants some of it for its copy of the manifest. */
export const LONGEST_AUTHOR = 64 * 1024;

/** The value of the annotation: one line of JSON, empty members left out. The same author gives the same text. */
export function renderAuthor({ username, uid, groups, extra }: Author): string {
  return JSON.stringify({
    username,
    ...(uid !== undefined && uid !== "" && { uid }),
    ...(groups.length > 0 && { groups }),
    ...(Object.keys(extra).length > 0 && { extra }),
  });
}

/** Reads the annotation; undefined where there is none, or none that can be read. */
export function parseAuthor(text: string | undefined): Author | undefined {
  if (text === undefined || text.length > LONGEST_AUTHOR) return undefined;
  try {
    return authorSchema.safeParse(JSON.parse(text)).data;
  } catch {
    // Whatever somebody wrote there, it names nobody.
    return undefined;
  }
}
