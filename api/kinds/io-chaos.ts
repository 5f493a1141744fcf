import * as z from "zod";
import { containerNames, describeContainers } from "../blocks/containers.ts";
import { describeErrno, errno, fileKinds, fileMethod } from "../blocks/file-operations.ts";
import { absolutePath, canMatchBelow, globOrEmpty } from "../blocks/file-path.ts";
import { durationOrEmpty, objectName, waitOrEmpty } from "../blocks/scalars.ts";
import { describeSelection, fillNamespaces, selectionRules, selectorBlock, touchPods } from "../blocks/selector.ts";
import type { FieldError } from "../field-error.ts";
import type { Rule } from "../rule.ts";
import { listWords, show } from "../text.ts";
import type { ExperimentDefinition } from "./definition.ts";
import { unusedBy } from "./ineffective.ts";
import { describeDuration, duration, remoteCluster } from "./shared.ts";

const UINT32_MAX = 2 ** 32 - 1;
const count = (max: number) => z.number().int().min(0).max(max).optional();

const time = (which: string) =>
  z
    .strictObject({
      sec: z.number().int().min(Number.MIN_SAFE_INTEGER).max(Number.MAX_SAFE_INTEGER).default(0).describe("Seconds since 1970."),
      nsec: z.number().int().min(0).max(999_999_999).default(0).describe("Nanoseconds."),
    })
    .optional()
    .describe(`Time of the last ${which}.`);

export const attributes = z.strictObject({
  ino: count(Number.MAX_SAFE_INTEGER).describe("Number of the inode."),
  size: count(Number.MAX_SAFE_INTEGER).describe("Size in bytes."),
  blocks: count(Number.MAX_SAFE_INTEGER).describe("Size in blocks of 512 bytes."),
  atime: time("access"),
  mtime: time("change of the content"),
  ctime: time("change of the attributes"),
  kind: z.enum(fileKinds).optional().describe("Kind of file."),
  perm: count(0xffff).describe("Permission bits. In YAML 1.1, which kubectl reads, 0644 is octal and 420 the same in decimal."),
  nlink: count(UINT32_MAX).describe("Number of hard links."),
  uid: count(UINT32_MAX).describe("User id of the owner."),
  gid: count(UINT32_MAX).describe("Group id of the owner."),
  rdev: count(UINT32_MAX).describe("Number of the device."),
});

export const mistake = z.strictObject({
  filling: z.enum(["zero", "random"]).optional().describe("What takes the place of the data: zeros or random bytes."),
  maxOccurrences: z.number().int().min(1).max(Number.MAX_SAFE_INTEGER).optional().describe("Most places that are wrong in one operation."),
  maxLength: z.number().int().min(1).max(Number.MAX_SAFE_INTEGER).optional().describe("Most bytes that are wrong at one place."),
});

const schema = z.strictObject({
  action: z
    .enum(["latency", "fault", "attrOverride", "mistake"])
    .describe("latency delays operations, fault makes them fail, attrOverride reports other attributes, mistake puts wrong data in."),
  ...selectorBlock,
  containerNames: containerNames(),
  volumePath: absolutePath({
    missing: 'is missing. Write where the volume is mounted in the container, such as "/var/lib/data".',
  }).describe("Where the volume is mounted in the container."),
  path: globOrEmpty()
    .optional()
    .describe("Glob of the files, compared with the whole path; ** stands for any number of folders. All files by default."),
  methods: z.array(fileMethod()).max(100).optional().describe("Operations, such as read, write or open. All by default."),
  percent: z.number().int().min(0).max(100).default(100).describe("Share of the operations."),
  delay: waitOrEmpty().optional().describe("For latency: how long each operation takes longer."),
  errno: errno().optional().describe("For fault: the number of the error, such as 5 for EIO or 28 for ENOSPC."),
  attr: attributes.optional().describe("For attrOverride: what files seem to be."),
  mistake: mistake.optional().describe("For mistake: how data goes wrong. What is written wrong stays wrong on the disk."),
  duration: durationOrEmpty().optional().describe(duration),
  remoteCluster: objectName().optional().describe(remoteCluster),
});
type Spec = z.output<typeof schema>;

const rules: readonly Rule<Spec>[] = [
  ...selectionRules,
  // Chaos Mesh admits an experiment whose action lacks what it works with, and then does nothing.
  {
    title: "latency needs a delay",
    cel: "self.action != 'latency' || (has(self.delay) && self.delay != '')",
    violations: ({ action, delay = "" }) =>
      action === "latency" && delay === ""
        ? [{ path: "spec.delay", message: 'is missing: latency needs to know how long. Write a duration such as "100ms".' }]
        : [],
  },
  {
    title: "fault needs an errno other than 0",
    cel: "self.action != 'fault' || (has(self.errno) && self.errno != 0)",
    violations: ({ action, errno: number = 0 }) =>
      action === "fault" && number === 0
        ? [{ path: "spec.errno", message: "is missing: fault needs the number of an error. Write one such as 5 for EIO or 28 for ENOSPC." }]
        : [],
  },
  {
    title: "attrOverride needs attr",
    cel: "self.action != 'attrOverride' || has(self.attr)",
    violations: ({ action, attr }) =>
      action === "attrOverride" && attr === undefined
        ? [{ path: "spec.attr", message: "is missing: attrOverride needs to know which attributes. Write some, such as {perm: 72}." }]
        : [],
  },
  {
    title: "mistake needs mistake with filling, maxOccurrences and maxLength",
    cel: "self.action != 'mistake' || (has(self.mistake) && has(self.mistake.filling) && has(self.mistake.maxOccurrences) && has(self.mistake.maxLength))",
    violations: ({ action, mistake: written }) => (action === "mistake" ? missingFromMistake(written) : []),
  },
  {
    title: "path must be able to match something below volumePath",
    cel: undefined,
    violations: ({ volumePath, path = "" }) =>
      path === "" || canMatchBelow(path, volumePath)
        ? []
        : [
            {
              path: "spec.path",
              message: `${show(path)} matches nothing below ${show(volumePath)}: it is compared with the whole path. Write ${show(`${volumePath.replace(/\/+$/, "")}/**`)} for all files.`,
            },
          ],
  },
];

function missingFromMistake(written: Spec["mistake"]): readonly FieldError[] {
  if (written === undefined) {
    const sample = "{filling: zero, maxOccurrences: 1, maxLength: 10}";
    return [{ path: "spec.mistake", message: `is missing: mistake needs to know how data goes wrong. Write one such as ${sample}.` }];
  }
  const samples = {
    filling: "zero or random",
    maxOccurrences: "a whole number such as 1",
    maxLength: "a whole number such as 10",
  } as const;
  return (["filling", "maxOccurrences", "maxLength"] as const)
    .filter((name) => written[name] === undefined)
    .map((name) => ({ path: `spec.mistake.${name}`, message: `is missing. Write ${samples[name]}.` }));
}

/** Methods that no fault can hit, and why. */
const unfaulted: ReadonlyMap<string, string> = new Map([
  ...["forget", "release", "releasedir", "fsyncdir"].map((method) => [method, "as nobody waits for its answer"] as const),
  // The kernel checks permissions by the attributes that it knows, and keeps locks, for all who use the volume.
  ...["access", "getlk", "setlk", "bmap"].map((method) => [method, "as the kernel answers it without asking the volume"] as const),
]);

function ineffective(spec: Spec): readonly FieldError[] {
  const { volumePath, path = "", methods = [], percent } = spec;
  const folder = volumePath.replace(/\/+$/, "");
  return [
    ...unusedBy(spec, {
      delay: ["latency"],
      errno: ["fault"],
      attr: ["attrOverride"],
      mistake: ["mistake"],
      methods: ["latency", "fault", "mistake"],
    }),
    ...methods.flatMap((method, index) => {
      const why = unfaulted.get(method.toLowerCase());
      return why === undefined ? [] : [{ path: `spec.methods[${index}]`, message: `${method} is never faulted, ${why}.` }];
    }),
    ...(path !== "" && path === folder
      ? [{ path: "spec.path", message: `matches the folder alone, and nothing in it. Write ${show(`${folder}/**`)} for that.` }]
      : []),
    ...(percent === 0 ? [{ path: "spec.percent", message: "is 0, so that no operation is faulted." }] : []),
  ];
}

function explain(spec: Spec): string {
  const { methods = [], percent, path = "", volumePath, attr = {} } = spec;
  const share = percent === 100 ? "" : `${percent} % of `;
  const files = show(path === "" ? volumePath : path);
  const operations = `${share}${methods.length === 0 ? "all file operations" : `${listWords(methods)} operations`} on ${files}`;
  const effect = {
    latency: `Delays ${operations} by ${spec.delay}`,
    fault: `Fails ${operations} with ${describeErrno(spec.errno ?? 0)}`,
    attrOverride: `Reports another ${listWords(Object.keys(attr))} in ${share}all look-ups of ${files}`,
    mistake: `Puts ${spec.mistake?.filling === "zero" ? "zeros" : "random bytes"} into the data of ${operations}`,
  }[spec.action];
  return `${effect} in ${describeContainers(spec)}${describeSelection(spec)}${describeDuration(spec)}.`;
}

export const ioChaos: ExperimentDefinition<typeof schema> = {
  kind: "IOChaos",
  plural: "iochaos",
  columns: [
    { name: "action", jsonPath: ".spec.action" },
    { name: "duration", jsonPath: ".spec.duration" },
  ],
  actorOf: () => "sidecar",
  targetOf: () => "container",
  hasContainersInSidecar: true,
  selections: (spec) => [{ key: ".", block: spec, need: "sidecar", containers: spec.containerNames ?? [], volumePath: spec.volumePath }],
  isOneShot: () => false,
  schema,
  prepare: fillNamespaces,
  rules,
  unsupported: () => [],
  ineffective,
  touches: touchPods,
  explain,
};
