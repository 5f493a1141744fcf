/** What the shop's client saw in one stretch of time. */
export interface Figures {
  readonly requests: number;
  readonly answered: number;
  /** Median of the answered requests, milliseconds; undefined without any. */
  readonly medianMs: number | undefined;
}

interface Purchase {
  readonly at: number;
  readonly ms: number;
  readonly status: number;
}

/** Parses one line of the client's log; undefined for a line that is none of its own. */
export function parsePurchase(line: string): Purchase | undefined {
  try {
    const parsed: unknown = JSON.parse(line);
    if (typeof parsed !== "object" || parsed === null) return undefined;
    const { at, ms, status } = parsed as Partial<Record<keyof Purchase, unknown>>;
    return typeof at === "number" && typeof ms === "number" && typeof status === "number" ? { at, ms, status } : undefined;
  } catch {
    return undefined;
  }
}

/** Collects what the client prints and sums up stretches of it. Times are those of this machine's clock at arrival. */
export function createFigures(now: () => number): {
  readonly add: (line: string) => void;
  readonly between: (fromMs: number, toMs: number) => Figures;
} {
  const seen: { readonly arrivedAt: number; readonly purchase: Purchase }[] = [];
  return {
    add(line) {
      const purchase = parsePurchase(line);
      if (purchase) seen.push({ arrivedAt: now(), purchase });
    },
    between(fromMs, toMs) {
      const inside = seen.filter(({ arrivedAt }) => arrivedAt >= fromMs && arrivedAt < toMs).map(({ purchase }) => purchase);
      const times = inside
        .filter(({ status }) => status === 200)
        .map(({ ms }) => ms)
        .toSorted((a, b) => a - b);
      return { requests: inside.length, answered: times.length, medianMs: times[times.length >> 1] };
    },
  };
}

/** One line for people: `median 203 ms, 25 of 25 answered`. */
export function describeFigures({ requests, answered, medianMs }: Figures): string {
  if (requests === 0) return "no request ended";
  const median = medianMs === undefined ? "no answer" : `median ${medianMs < 10 ? medianMs.toFixed(1) : medianMs.toFixed(0)} ms`;
  return `${median}, ${answered} of ${requests} answered`;
}

/** Lines with receipts as JSON, for people: `{"delayed":0,"dropped":50}` becomes `delayed 0, dropped 50`. */
export const describeReceipts = (lines: string): string =>
  lines.replaceAll(/\{.*\}/g, (receipts) =>
    receipts
      .slice(1, -1)
      .replaceAll(/"(\w+)":/g, "$1 ")
      .replaceAll(",", ", ")
      .replaceAll('"', ""),
  );
