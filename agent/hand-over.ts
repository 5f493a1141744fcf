import * as z from "zod/mini";
import type { ServedVolume } from "../common/sidecar-layout.ts";

/**
 * What a sidecar and the daemon of its node say to each other about the volumes of the pod, over the socket `sidecarPaths.filesSocket`: a JSON
 * object on a line. The sidecar speaks first. The connection stays open while both live.
 */

/** What the server of a volume and the kernel agreed on, base64; undefined as long as the kernel has not asked. */
export interface HeldVolume {
  readonly name: string;
  readonly init: string | undefined;
}

/** A volume that is to be served. */
export interface WantedVolume extends Pick<ServedVolume, "name" | "source"> {
  /** Of a claim, by which its folder on the node is found. Absent where the pod has only one. */
  readonly persistentVolume?: string | undefined;
}

export type FromSidecar =
  /** Comes with three descriptors for each volume that is held: of /dev/fuse, of the folder, and of the memory of requests in flight. */
  | { readonly say: "hello"; readonly podUid: string; readonly volumes: readonly WantedVolume[]; readonly held: readonly HeldVolume[] }
  /** The volume is served; its `init` is to be kept for a sidecar that comes later. */
  | { readonly say: "serving"; readonly name: string; readonly init: string };

export type FromDaemon =
  /** Comes with three descriptors, as above. */
  | { readonly say: "hand"; readonly name: string; readonly init: string | undefined }
  | { readonly say: "refuse"; readonly name: string; readonly reason: string; readonly message: string };

/** A line without its end, in bytes. */
export const LONGEST_LINE_BYTES = 64 * 1024;
export const DESCRIPTORS_OF_VOLUME = 3;
/** So that their descriptors fit into one message. */
export const MOST_VOLUMES = 64;

/** The other end said something that it should not. */
export class HandOverError extends Error {
  override readonly name = "HandOverError";
}

/** A DNS label, as Kubernetes wants it of names of volumes: no slash, no dot. */
const volumeName = z.string().check(z.regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/));
/** A DNS subdomain, as Kubernetes wants it of names of persistent volumes: no slash, no two dots in a row. */
const persistentVolumeName = z
  .string()
  .check(z.maxLength(253), z.regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/));
const podUid = z.string().check(z.regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/));
const init = z.string().check(z.regex(/^[A-Za-z0-9+/]{1,4096}={0,2}$/));
const short = z.string().check(z.maxLength(2000));

const sidecarLine = z.union([
  z.strictObject({
    hello: z.strictObject({
      podUid,
      volumes: z
        .array(
          z.strictObject({
            name: volumeName,
            source: z.enum(["emptyDir", "claim"]),
            persistentVolume: z.optional(persistentVolumeName),
          }),
        )
        .check(z.maxLength(MOST_VOLUMES)),
      held: z.array(z.strictObject({ name: volumeName, init: z.nullable(init) })).check(z.maxLength(MOST_VOLUMES)),
    }),
  }),
  z.strictObject({ serving: z.strictObject({ name: volumeName, init }) }),
]);

const daemonLine = z.union([
  z.strictObject({ hand: z.strictObject({ name: volumeName, init: z.nullable(init) }) }),
  z.strictObject({ refuse: z.strictObject({ name: volumeName, reason: short, message: short }) }),
]);

/** Throws HandOverError. */
export function parseSidecarLine(line: string): FromSidecar {
  const said = parse(sidecarLine, line, "A sidecar");
  if ("serving" in said) return { say: "serving", ...said.serving };
  const { volumes, held } = said.hello;
  const names = new Set(volumes.map(({ name }) => name));
  if (names.size !== volumes.length) throw new HandOverError("A sidecar named a volume twice.");
  if (new Set(held.map(({ name }) => name)).size !== held.length) throw new HandOverError("A sidecar holds a volume twice.");
  const stranger = held.find(({ name }) => !names.has(name));
  if (stranger !== undefined) throw new HandOverError(`A sidecar holds volume ${stranger.name}, which it does not want.`);
  return { say: "hello", podUid: said.hello.podUid, volumes, held: held.map((one) => ({ ...one, init: one.init ?? undefined })) };
}

/** Throws HandOverError. */
export function parseDaemonLine(line: string): FromDaemon {
  const said = parse(daemonLine, line, "The daemon");
  if ("refuse" in said) return { say: "refuse", ...said.refuse };
  return { say: "hand", name: said.hand.name, init: said.hand.init ?? undefined };
}

/** With its end. */
export function renderLine(said: FromSidecar | FromDaemon): string {
  const { say, ...rest } = said;
  return `${JSON.stringify({ [say]: rest }, (_, value: unknown) => (value === undefined ? null : value))}\n`;
}

/** How many descriptors come with what was said. */
export function descriptorsWith(said: FromSidecar | FromDaemon): number {
  switch (said.say) {
    case "hello":
      return said.held.length * DESCRIPTORS_OF_VOLUME;
    case "hand":
      return DESCRIPTORS_OF_VOLUME;
    case "serving":
    case "refuse":
      return 0;
  }
}

function parse<S extends z.ZodMiniType>(schema: S, line: string, who: string): z.output<S> {
  let raw: unknown;
  try {
    raw = JSON.parse(line);
  } catch (error) {
    throw new HandOverError(`${who} sent a line that is no JSON: ${excerpt(line)}`, { cause: error });
  }
  const result = schema.safeParse(raw);
  if (!result.success) throw new HandOverError(`${who} sent a line that means nothing here: ${excerpt(line)}`);
  return result.data;
}

const excerpt = (line: string): string => JSON.stringify(line.length > 200 ? `${line.slice(0, 200)}…` : line);
