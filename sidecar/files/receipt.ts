import { noReceipt } from "../../agent/held-fault.ts";
import type { MethodReceipt, Receipt } from "../../proto/gen/agent.ts";
import type { Counts } from "./server-messages.ts";

/** What a fault did to operations, all methods together and each by itself. */
export function receiptOf({ methods, firstMs, lastMs }: Counts): Receipt {
  const sum = (amount: (method: MethodReceipt) => number): number => methods.reduce((total, method) => total + amount(method), 0);
  return {
    ...noReceipt,
    matched: sum(({ matched }) => matched),
    delayed: sum(({ delayed }) => delayed),
    failed: sum(({ failed }) => failed),
    falsified: sum(({ falsified }) => falsified),
    methods: methods.toSorted((one, other) => one.method.localeCompare(other.method)),
    firstMs,
    lastMs,
  };
}
