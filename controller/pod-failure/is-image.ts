/** What a container status says of the image that runs: a name of the runtime's choice, and a digest. */
export interface RunningImage {
  readonly image?: string | undefined;
  readonly imageID?: string | undefined;
}

/**
 * Whether a container runs an image by this reference. Runtimes complete names (`squall:1` is `docker.io/library/squall:1` there) and say the
 * first tag of an image whatever tag it was asked for, so that a no is not sure.
 */
export function isImage({ image, imageID }: RunningImage, reference: string): boolean {
  const [, digest] = reference.split("@");
  if (digest !== undefined && imageID?.endsWith(digest) === true) return true;
  return image !== undefined && image !== "" && complete(image) === complete(reference);
}

/** https://pkg.go.dev/github.com/distribution/reference#ParseNormalizedNamed, and the tag `latest` where there is none. */
function complete(reference: string): string {
  const [first = "", ...rest] = reference.split("/");
  const hasRegistry = rest.length > 0 && (/[.:]/.test(first) || first === "localhost");
  const path = hasRegistry ? reference : `docker.io/${rest.length === 0 ? "library/" : ""}${reference}`;
  return /[:@][^/]*$/.test(path) ? path : `${path}:latest`;
}
