import type { fileKinds } from "../../api/blocks/file-operations.ts";
import type { SpecOf } from "../../api/kinds/experiments.ts";
import { mountAt, plainPath } from "../../api/volume-mounts.ts";
import { parseDurationMs } from "../../common/duration.ts";
import { type IoAttributes, type IoFault, IoMistake_Filling } from "../../proto/gen/faults.ts";
import type { Target, Translator } from "./translator.ts";

type Spec = SpecOf<"IOChaos">;

/** Files of a container's volume are faulted by the sidecar, which serves the volume: another container that has the same folder meets the fault, too. */
export const ioChaos: Translator<Spec> = {
  whyUnable(_spec, _key, { familiesOfFaults, missing }) {
    if (familiesOfFaults.includes("io")) return undefined;
    const why = missing.filter((text) => text.startsWith("io: ")).map((text) => text.slice("io: ".length));
    return { reason: "CannotCarry", message: `The pod's sidecar serves no volumes. ${why.join(" ")}`.trim() };
  },
  actOf: () => undefined,
  faultsOf: (spec, { sources }) =>
    sources.flatMap((target) =>
      target.hasAgent ? [{ target, family: { $case: "io", value: faultOn(target, spec) }, unmatchedServices: [] }] : [],
    ),
};

function faultOn({ mounts }: Target, spec: Spec): IoFault {
  // Without one the pod would not have been picked; of an empty name the sidecar says that it does not serve it.
  const { volume = "", subPath = "" } = mountAt(mounts, spec.volumePath) ?? {};
  return {
    volume,
    mountPath: plainPath(spec.volumePath),
    subPath,
    path: spec.path ?? "",
    methods: (spec.methods ?? []).map((method) => method.toLowerCase()),
    percent: spec.percent,
    effect: effectOf(spec),
  };
}

/** What the action does not use is left out, as Chaos Mesh does. */
function effectOf({ action, delay = "", errno = 0, attr = {}, mistake = {} }: Spec): NonNullable<IoFault["effect"]> {
  switch (action) {
    case "latency":
      return { $case: "latency", value: { delayUs: Math.round((parseDurationMs(delay) ?? 0) * 1000) } };
    case "fault":
      return { $case: "error", value: { errno } };
    case "attrOverride":
      return { $case: "attributes", value: attributesOf(attr) };
    case "mistake":
      return {
        $case: "mistake",
        value: {
          filling: mistake.filling === "zero" ? IoMistake_Filling.ZERO : IoMistake_Filling.RANDOM,
          maxOccurrences: mistake.maxOccurrences ?? 0,
          maxLength: mistake.maxLength ?? 0,
        },
      };
  }
}

type Attributes = NonNullable<Spec["attr"]>;

function attributesOf({ kind, perm, atime, mtime, ctime, ...numbers }: Attributes): IoAttributes {
  const time = (written: Attributes["atime"]) => written && { seconds: written.sec, nanos: written.nsec };
  return {
    ...numbers,
    atime: time(atime),
    mtime: time(mtime),
    ctime: time(ctime),
    kind: kind && typeBits[kind],
    // what stands above these bits is the type, which `kind` says
    perm: perm === undefined ? undefined : perm & 0o7777,
  };
}

/** See inode(7). */
const typeBits: { readonly [K in (typeof fileKinds)[number]]: number } = {
  namedPipe: 0o010000,
  charDevice: 0o020000,
  directory: 0o040000,
  blockDevice: 0o060000,
  regularFile: 0o100000,
  symlink: 0o120000,
  socket: 0o140000,
};
