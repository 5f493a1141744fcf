import type { ContainerRecord } from "../api/status.ts";

/** From here on records become shorter. */
const ROOMY_BYTES = 1_000_000;
/** etcd takes requests of up to 1.5 MiB (https://etcd.io/docs/v3.6/dev-guide/limit/); the rest is for everything that is not a record. */
const LARGEST_BYTES = 1_450_000;

type Part = "receipts by method" | "events" | "receipts";

/** What is left out, in this order, until the records fit: none of it decides what is done. */
const steps: readonly { readonly what: Part; readonly shorten: (record: ContainerRecord) => ContainerRecord }[] = [
  {
    what: "receipts by method",
    shorten: (record) => {
      if (record.receipts?.methods === undefined) return record;
      const { methods: _methods, ...receipts } = record.receipts;
      return { ...record, receipts };
    },
  },
  {
    what: "events",
    shorten: ({ events, ...rest }) => {
      const last = events?.at(-1);
      return last?.type === "Failed" ? { ...rest, events: [last] } : rest;
    },
  },
  {
    what: "receipts",
    shorten: (record) => {
      const { receipts: _receipts, events: _events, ...rest } = record;
      return rest;
    },
  },
];

export interface Fitted {
  readonly records: readonly ContainerRecord[];
  /** What is not in them, in words. */
  readonly omitted: readonly string[];
}

/** Shortens records so far that the object has a chance to be stored. */
export function fitRecords(records: readonly ContainerRecord[]): Fitted {
  let fitted = records;
  const omitted: string[] = [];
  for (const { what, shorten } of steps) {
    if (bytesOf(fitted) <= ROOMY_BYTES) break;
    // Faults of other families have none.
    if (what !== "receipts by method" || fitted.some(({ receipts }) => receipts?.methods !== undefined)) omitted.push(what);
    fitted = fitted.map(shorten);
  }
  return { records: fitted, omitted };
}

/** As they are written: among very many, counts of 0 and the selector's own key are left out, which the schema of the status puts back. */
export function writtenRecords(records: readonly ContainerRecord[]): readonly object[] {
  if (bytesOf(records) <= ROOMY_BYTES) return records;
  return records.map(({ injectedCount, recoveredCount, selectorKey, ...rest }) => ({
    ...rest,
    ...(selectorKey !== "." && { selectorKey }),
    ...(injectedCount > 0 && { injectedCount }),
    ...(recoveredCount > 0 && { recoveredCount }),
  }));
}

/** Whether there are more records than one object can hold, however short they are. */
export function isTooLarge(records: readonly ContainerRecord[]): boolean {
  const longest = records.map(
    (record): ContainerRecord => ({ ...record, phase: "Not Injected/Wait", injectedCount: 1, recoveredCount: 1 }),
  );
  return bytesOf(writtenRecords(fitRecords(longest).records)) > LARGEST_BYTES;
}

const bytesOf = (records: readonly object[]): number => Buffer.byteLength(JSON.stringify(records));
