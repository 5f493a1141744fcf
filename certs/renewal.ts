import { X509Certificate } from "node:crypto";

/** When a certificate begins and ends. */
export interface ValiditySpan {
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** Of the first certificate in a PEM text. */
export function validityOf(pem: string): ValiditySpan {
  const { validFromDate, validToDate } = new X509Certificate(pem);
  return { notBefore: validFromDate, notAfter: validToDate };
}

/**
 * When a certificate is to be replaced: at half of its life, so that the other half is left for a controller that is away.
 * `spread` (0 to 1, random per process) moves it by up to a tenth of the life, so that agents born together do not renew together.
 */
export function renewAt({ notBefore, notAfter }: ValiditySpan, spread = 0.5): Date {
  const lifeMs = notAfter.getTime() - notBefore.getTime();
  return new Date(notBefore.getTime() + lifeMs * (0.4 + 0.2 * spread));
}
