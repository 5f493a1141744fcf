import type { Clock } from "../../common/clock.ts";

/** What the promise comes to; rejects when it has not come to anything in time. */
export async function within<T>(timeoutMs: number, promise: Promise<T>, clock: Clock): Promise<T> {
  const late = Promise.withResolvers<never>();
  const cancel = clock.after(timeoutMs, () => late.reject(new Error(`There was no answer within ${timeoutMs} ms.`)));
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    cancel();
  }
}
