import * as z from "zod/mini";

const schema = z.object({ pid: z.optional(z.number()) });

/**
 * The pid in what a runtime tells beside a status. CRI leaves the form open; containerd, CRI-O and cri-dockerd write JSON with `pid` under "info".
 * "none" where there is no process, "unreadable" where the form is another one.
 */
export function pidIn(info: Readonly<Record<string, string>>): number | "none" | "unreadable" {
  const text = info["info"];
  if (text === undefined) return "none";
  const { success, data } = schema.safeParse(parseJson(text));
  if (!success || (data.pid !== undefined && !Number.isSafeInteger(data.pid))) return "unreadable";
  // 0 and -1 stand for none; 1 is the node's own first process, never a container's.
  return data.pid !== undefined && data.pid > 1 ? data.pid : "none";
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // the schema refuses it
  }
}
