/** Factors of Kubernetes' suffixes, see https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/. */
const factors: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

const QUANTITY = /^([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:([numkMGTPE]|[KMGTPE]i)?|[eE]([+-]?\d+))$/;

/** What a quantity such as "100m", "1.5Gi" or "2e3" amounts to: cores, bytes. Undefined for what is no quantity. */
export function parseQuantity(text: string): number | undefined {
  const match = QUANTITY.exec(text);
  if (match === null) return undefined;
  const [, amount = "", suffix = "", exponent] = match;
  return Number(amount) * (exponent === undefined ? (factors[suffix] ?? 1) : 10 ** Number(exponent));
}
