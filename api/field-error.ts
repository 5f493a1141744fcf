/** One mistake of the user, returned and never thrown. */
export interface FieldError {
  /** As the user wrote it, from the root of the object: `spec.delay.latency`, `spec.selector.expressionSelectors[0].key`. */
  readonly path: string;
  /** What was found and what to write instead: one or two sentences. */
  readonly message: string;
}

/** All mistakes as one text, a line each: what kubectl shows. */
export function describeErrors(errors: readonly FieldError[]): string {
  return errors.map(({ path, message }) => `${path}: ${message}`).join("\n");
}
