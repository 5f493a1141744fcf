/** What passes on a plain folder and need not pass on a served one, and why. The suites fail when one of these passes after all. */
export const kernelExceptions: Readonly<Record<string, string>> = {
  "pjdfstest on a disk: link::link_count_max":
    "is skipped: it asks pathconf(3) for the most links a file may have, and glibc answers from a list of file systems in which FUSE is not",
};

const noHoles = "is ended by fsx at the first hole to punch: fuse-native has no fallocate(2). See fsx without punched holes";

/** The same for the driver for nodes without the daemon. */
export const libfuseExceptions: Readonly<Record<string, string>> = {
  ...kernelExceptions,
  ...Object.fromEntries(["a disk", "memory"].flatMap((where) => [1, 2, 3, 4].map((seed) => [`fsx on ${where}: seed ${seed}`, noHoles]))),
};
