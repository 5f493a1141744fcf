/** A mount, as a process sees it. */
export interface MountEntry {
  /** As `mnt_id` of /proc/PID/fdinfo has it. */
  readonly id: number;
  /** Where it is mounted. */
  readonly path: string;
  /** Of this place, such as `ro` and `nosuid`; those of the file system are not among them. */
  readonly options: readonly string[];
  readonly type: string;
  readonly source: string;
}

/** The lines of /proc/PID/mountinfo in their order: of several at one place the last is on top. See proc_pid_mountinfo(5). */
export function parseMountinfo(text: string): readonly MountEntry[] {
  return text.split("\n").flatMap((line) => {
    // How many optional fields stand before the dash differs.
    const [front = "", back] = line.split(" - ");
    if (back === undefined) return [];
    const [id = "", , , , path = "", options = ""] = front.split(" ");
    const [type = "", source = ""] = back.split(" ");
    return [{ id: Number(id), path: unescape(path), options: options.split(","), type, source: unescape(source) }];
  });
}

/** Space, tab, newline and backslash are octal. */
const unescape = (text: string): string =>
  text.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
