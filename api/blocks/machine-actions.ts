import * as z from "zod";
import { show } from "../text.ts";
import { parsePercent, problemWithDuration } from "./scalars.ts";

/** What an agent on a physical machine can do: for each action the fields of its configuration, and what must hold among them. */

export interface MachineAction {
  readonly description: string;
  readonly fields: Readonly<Record<string, z.ZodType>>;
  /** Fields that must be there; of a list at least one. Empty, 0 and false count as missing. */
  readonly needs: readonly (string | readonly string[])[];
  readonly checks: readonly ConfigCheck[];
}

/** A rule among the fields of one configuration. */
export interface ConfigCheck {
  readonly title: string;
  /** The same in CEL, over `config`; undefined where it is beyond the CRD. */
  readonly cel: string | undefined;
  /** The field that breaks it and what is wrong. */
  find(config: Readonly<Record<string, unknown>>): { readonly name: string; readonly message: string } | undefined;
}

const INT32_MAX = 2 ** 31 - 1;
const LONG_TEXT = 64 * 1024;

const text = (description: string) => z.string().max(1024).optional().describe(description);
const longText = (description: string) => z.string().max(LONG_TEXT).optional().describe(description);
const texts = (description: string) => z.array(z.string().max(1024)).max(100).optional().describe(description);
const flag = (description: string) => z.boolean().optional().describe(description);
const count = (description: string, { max = INT32_MAX, min = -INT32_MAX - 1 }: { readonly max?: number; readonly min?: number } = {}) =>
  z.number().int().min(min).max(max).optional().describe(description);
const size = () => text("Size such as 10MiB or 1GB.");

const action = (
  description: string,
  fields: MachineAction["fields"],
  needs: MachineAction["needs"] = [],
  checks: readonly ConfigCheck[] = [],
): MachineAction => ({ description, fields, needs, checks });

/** A check of one text where it is given; `problem` says what is wrong with it. */
const grammar = (name: string, what: string, problem: (text: string) => string | undefined): ConfigCheck => ({
  title: `${name} is ${what}`,
  cel: undefined,
  find(config) {
    const value = config[name];
    const message = typeof value === "string" && value !== "" ? problem(value) : undefined;
    return message === undefined ? undefined : { name, message };
  },
});

const SIZE = /^(?:(?:\d+\.?\d*|\.\d+)(?:c|[KMGTPE](?:iB|B)?|kB))+$/;

/** Sizes as agents of Chaos Mesh read them: K and KiB are 1,024 bytes, kB and KB 1,000, c is one byte. */
const isSize = (value: string): boolean => value.length <= 100 && SIZE.test(value);
const sizeCheck = grammar("size", "a number with a unit", (value) => {
  if (isSize(value)) return undefined;
  if (/^\d+$/.test(value))
    return `${show(value)} has no unit. Write one such as "${value.slice(0, 9)}MiB", or "${value.slice(0, 9)}c" for bytes.`;
  return `${show(value)} is no size. Write a number and a unit, c, K, M, G, T, P, E, KiB and so on by 1,024 or kB, MB and so on by 1,000, such as "10MiB".`;
});
const percentCheck = grammar("percent", "above 0 and at most 100", (value) => {
  const percent = parsePercent(value);
  return percent === undefined || percent === 0
    ? `${show(value)} is no percentage above 0. Write a number up to 100 without a percent sign, such as "25".`
    : undefined;
});
const correlationCheck = grammar("correlation", "from 0 to 100", (value) =>
  parsePercent(value) === undefined ? `${show(value)} is no percentage. Write a number from 0 to 100, such as "25".` : undefined,
);
const offsetCheck = grammar("time-offset", "a duration", problemWithDuration);
const directionCheck = grammar("direction", "to or from", (value) =>
  value === "to" || value === "from" ? undefined : `${show(value)} is none of to, from.`,
);

const flagsNeedTcp: ConfigCheck = {
  title: "accept-tcp-flags needs ip-protocol tcp",
  cel: "!has(config.accept__dash__tcp__dash__flags) || config.accept__dash__tcp__dash__flags == '' || (has(config.ip__dash__protocol) && config.ip__dash__protocol == 'tcp')",
  find: (config) =>
    !config["accept-tcp-flags"] || config["ip-protocol"] === "tcp"
      ? undefined
      : { name: "accept-tcp-flags", message: "needs ip-protocol: tcp beside it." },
};
const pidIsPositive: ConfigCheck = {
  title: "pid is above 0",
  cel: "!has(config.pid) || config.pid >= 0",
  find: ({ pid }) => (typeof pid === "number" && pid < 0 ? { name: "pid", message: `${pid} is no process. Write its ID.` } : undefined),
};

const common = {
  correlation: text("How much a decision depends on the one before, in percent."),
  device: text("Network device, such as eth0."),
  "source-port": text("Ports of the packets' sender: numbers and ranges such as 8000:8010, with commas between them."),
  "egress-port": text("Ports of the packets' receiver, written like source-port."),
  "ip-address": text("Packets to this address alone."),
  "ip-protocol": text("Packets of this protocol alone: tcp, udp, icmp or all."),
  hostname: text("Packets to this host alone."),
};
const jvm = { pid: count("ID of the Java process."), port: count("Port of the agent in the JVM.") };
const method = { class: text("Java class."), method: text("Method of the class.") };
const redis = { addr: text("Address of the Redis server."), password: text("Password of the Redis server.") };
const redisConfiguration = {
  ...redis,
  conf: text("Configuration file of the sentinel."),
  flushConfig: flag("Whether the configuration is written first."),
  redisPath: flag("Whether the path of the server's program is given."),
};
const kafka = {
  topic: text("Topic."),
  host: text("Host of the Kafka server."),
  port: count("Port of the Kafka server.", { min: 0, max: 65_535 }),
  username: text("User of the Kafka server."),
  password: text("Password of the Kafka server."),
  messageSize: count("Bytes of each message.", { min: 0 }),
};
const diskPayload = {
  size: size(),
  path: text("File or folder."),
  "payload-process-num": count("Processes that read or write.", { min: 0, max: 255 }),
};
const file = { "file-name": text("Name of the file."), "dir-name": text("Name of the folder.") };
const lossy = (description: string): MachineAction =>
  action(description, { ...common, percent: text("Percentage of the packets.") }, ["device", "percent"], [percentCheck, correlationCheck]);

/** By name, which is also the name of the configuration beside `action`. */
export const machineActions = {
  "stress-cpu": action(
    "Keeps CPUs busy.",
    { load: count("Percent of each CPU."), workers: count("Workers."), options: texts("More arguments of stress-ng.") },
    ["load", "workers"],
  ),
  "stress-mem": action("Uses memory up.", { size: size(), options: texts("More arguments of stress-ng.") }, ["size"], [sizeCheck]),
  "disk-read-payload": action("Reads from a disk.", diskPayload, ["payload-process-num", "size"], [sizeCheck]),
  "disk-write-payload": action("Writes to a disk.", diskPayload, ["payload-process-num", "size"], [sizeCheck]),
  "disk-fill": action(
    "Fills a disk.",
    { size: size(), path: text("File that is written."), "fill-by-fallocate": flag("Whether the file is only allocated.") },
    ["size"],
    [sizeCheck],
  ),
  "network-corrupt": lossy("Flips bits in packets."),
  "network-duplicate": lossy("Sends packets twice."),
  "network-loss": lossy("Loses packets."),
  "network-delay": action(
    "Delays packets.",
    {
      ...common,
      latency: text("Added latency, such as 100ms."),
      jitter: text("The latency varies by this much to either side."),
      "accept-tcp-flags": text("TCP packets with these flags alone, such as SYN,ACK SYN,ACK."),
    },
    ["device", "latency"],
    [correlationCheck, flagsNeedTcp],
  ),
  "network-partition": action(
    "Drops packets.",
    {
      device: common.device,
      hostname: common.hostname,
      "ip-address": common["ip-address"],
      direction: text("Packets to the address, or from it."),
      "ip-protocol": common["ip-protocol"],
      "accept-tcp-flags": text("TCP packets with these flags pass, such as SYN,ACK SYN,ACK."),
    },
    ["device", ["ip-address", "hostname"], "direction"],
    [directionCheck, flagsNeedTcp],
  ),
  "network-dns": action(
    "Answers DNS wrongly.",
    {
      "dns-server": text("DNS server of the machine meanwhile."),
      "dns-ip": text("Address that dns-domain-name resolves to."),
      "dns-domain-name": text("Name that resolves to dns-ip."),
    },
    [],
    [
      {
        title: "dns-ip and dns-domain-name stand together",
        cel: "(has(config.dns__dash__ip) && config.dns__dash__ip != '') == (has(config.dns__dash__domain__dash__name) && config.dns__dash__domain__dash__name != '')",
        find(config) {
          const [ip, name] = [Boolean(config["dns-ip"]), Boolean(config["dns-domain-name"])];
          if (ip === name) return undefined;
          return { name: ip ? "dns-domain-name" : "dns-ip", message: `is missing beside ${ip ? "dns-ip" : "dns-domain-name"}.` };
        },
      },
    ],
  ),
  "network-bandwidth": action(
    "Limits the bandwidth.",
    {
      rate: z.string().min(1).max(64).describe("Rate, such as 1mbps."),
      limit: z.number().int().min(1).max(INT32_MAX).describe("Bytes that may wait."),
      buffer: z.number().int().min(1).max(INT32_MAX).describe("Size of the bucket in bytes."),
      peakrate: count("Largest rate at which the bucket empties.", { min: 0, max: Number.MAX_SAFE_INTEGER }),
      minburst: count("Size of the peak bucket in bytes.", { min: 0 }),
      device: common.device,
      "ip-address": common["ip-address"],
      hostname: common.hostname,
    },
    ["device"],
  ),
  "network-flood": action(
    "Sends traffic to an address.",
    {
      rate: text("Rate, such as 10m."),
      duration: text("How long it is sent."),
      "ip-address": text("Where it goes."),
      port: text("Port that it goes to."),
      parallel: count("Streams at the same time.", { min: 0 }),
    },
    ["ip-address", "port", "rate", "duration"],
  ),
  "network-down": action("Switches a network device off.", { device: common.device, duration: text("How long it stays off.") }, [
    "device",
    "duration",
  ]),
  process: action(
    "Sends a signal to processes.",
    { process: text("Name or ID of the process."), signal: count("Signal number."), recoverCmd: text("Command that starts it again.") },
    ["process", "signal"],
  ),
  "jvm-exception": action(
    "Throws an exception in a method.",
    { ...jvm, ...method, exception: text("What is thrown.") },
    ["pid", "class", "method", "exception"],
    [pidIsPositive],
  ),
  "jvm-gc": action("Starts a garbage collection.", jvm, ["pid"], [pidIsPositive]),
  "jvm-latency": action(
    "Delays a method.",
    { ...jvm, ...method, latency: count("Milliseconds.") },
    ["pid", "class", "method", "latency"],
    [pidIsPositive],
  ),
  "jvm-return": action(
    "Changes what a method returns.",
    { ...jvm, ...method, value: text("What it returns.") },
    ["pid", "class", "method", "value"],
    [pidIsPositive],
  ),
  "jvm-stress": action(
    "Uses CPU or memory up in the JVM.",
    { ...jvm, "cpu-count": count("CPUs to keep busy."), "mem-type": text("Memory to use up: stack or heap.") },
    ["pid", ["cpu-count", "mem-type"]],
    [
      pidIsPositive,
      {
        title: "only one of cpu-count and mem-type is given",
        cel: "!(has(config.cpu__dash__count) && config.cpu__dash__count != 0 && has(config.mem__dash__type) && config.mem__dash__type != '')",
        find: (config) =>
          config["cpu-count"] && config["mem-type"]
            ? { name: "mem-type", message: "does not go with cpu-count. Leave one of them out." }
            : undefined,
      },
    ],
  ),
  "jvm-rule-data": action(
    "Runs a Byteman rule.",
    { ...jvm, "rule-data": longText("Text of the rule.") },
    ["pid", "rule-data"],
    [pidIsPositive],
  ),
  "jvm-mysql": action(
    "Delays SQL statements or makes them fail.",
    {
      ...jvm,
      mysqlConnectorVersion: text("Major version of the MySQL connector: 5 or 8."),
      database: text("Statements on this database alone."),
      table: text("Statements on this table alone."),
      sqlType: text("Statements of this kind alone, such as select."),
      exception: text("What is thrown."),
      latency: count("Milliseconds."),
    },
    ["pid", "mysqlConnectorVersion", ["exception", "latency"]],
    [pidIsPositive],
  ),
  clock: action(
    "Shifts the clock of a process.",
    {
      pid: count("ID of the process."),
      "time-offset": text("Shift, such as -1h."),
      "clock-ids-slice": text("Clocks that are shifted, with commas between them, such as CLOCK_REALTIME."),
    },
    ["pid", "time-offset"],
    [pidIsPositive, offsetCheck],
  ),
  "redis-expiration": action(
    "Makes keys expire.",
    { ...redis, expiration: text("When they expire."), key: text("Key; all of them by default."), option: text("XX, NX, GT or LT.") },
    ["addr"],
  ),
  "redis-penetration": action("Asks for keys that do not exist.", { ...redis, requestNum: count("Requests.") }, ["addr", "requestNum"]),
  "redis-cacheLimit": action(
    "Limits the memory of the server.",
    { ...redis, cacheSize: text("Limit, such as 100M."), percent: text("Limit in percent of what it uses.") },
    ["addr"],
    [
      {
        title: "only one of cacheSize and percent is given",
        cel: "!has(config.percent) || config.percent == '' || !has(config.cacheSize) || config.cacheSize in ['', '0']",
        find: ({ cacheSize, percent }) =>
          percent && cacheSize && cacheSize !== "0"
            ? { name: "percent", message: "does not go with cacheSize. Leave one of them out." }
            : undefined,
      },
    ],
  ),
  "redis-restart": action("Restarts the sentinel.", redisConfiguration, ["addr", "conf"]),
  "redis-stop": action("Stops the server.", redisConfiguration, ["addr"]),
  "kafka-fill": action(
    "Fills the server with messages.",
    {
      ...kafka,
      maxBytes: count("Bytes that are written.", { min: 0, max: Number.MAX_SAFE_INTEGER }),
      reloadCommand: text("Command that makes the server read its configuration again."),
    },
    ["host", "port", "maxBytes", "reloadCommand"],
  ),
  "kafka-flood": action("Floods the server with messages.", { ...kafka, threads: count("Threads that write.", { min: 0 }) }, [
    "host",
    "port",
    "threads",
  ]),
  "kafka-io": action(
    "Makes the files of the server unreadable or unwritable.",
    {
      topic: text("Topic."),
      configFile: text("Configuration file of the server."),
      nonReadable: flag("Whether they cannot be read."),
      nonWritable: flag("Whether they cannot be written."),
    },
    [["nonReadable", "nonWritable"]],
  ),
  "file-create": action("Creates a file or folder.", file, [["file-name", "dir-name"]]),
  "file-delete": action("Deletes a file or folder.", file, [["file-name", "dir-name"]]),
  "file-modify": action(
    "Changes the permissions of a file.",
    { "file-name": text("Name of the file."), privilege: count("Permissions, as chmod takes them.", { min: 0 }) },
    ["file-name", "privilege"],
  ),
  "file-rename": action("Renames a file.", { "source-file": text("Name that it has."), "dest-file": text("Name that it gets.") }, [
    "source-file",
    "dest-file",
  ]),
  "file-append": action(
    "Appends to a file.",
    { "file-name": text("Name of the file."), data: longText("What is appended."), count: count("How often.", { min: 0 }) },
    ["file-name", "data"],
  ),
  "file-replace": action(
    "Replaces text in a file.",
    {
      "file-name": text("Name of the file."),
      "origin-string": longText("What is replaced."),
      "dest-string": longText("What it is replaced by."),
      line: count("Line; all of them by default.", { min: 0 }),
    },
    ["file-name", "origin-string", "dest-string"],
  ),
  vm: action("Stops a virtual machine.", { "vm-name": text("Name of the virtual machine.") }),
  user_defined: action(
    "Runs commands of the user's own.",
    { attackCmd: longText("Command that breaks something."), recoverCmd: longText("Command that mends it.") },
    ["attackCmd", "recoverCmd"],
  ),
} as const satisfies Readonly<Record<string, MachineAction>>;

export type MachineActionName = keyof typeof machineActions;
export const machineActionNames = Object.keys(machineActions) as readonly MachineActionName[];

const proxied = {
  proxy_ports: z.array(z.number().int().min(1).max(65_535)).max(100).describe("Ports whose connections are proxied."),
  target: text("Request or Response."),
  port: count("Port."),
  path: text("Requests of this path alone."),
  method: text("Requests of this method alone."),
  code: text("Replies of this status code alone."),
};

/** Configurations that Chaos Mesh's schema has and no action can choose; manifests that carry them are not refused for it. */
export const unreachableConfigurations: Readonly<Record<string, MachineAction["fields"]>> = {
  "http-abort": proxied,
  "http-delay": { ...proxied, delay: text("Delay.") },
  "http-config": { file_path: text("File with the configuration.") },
  "http-request": { url: text("URL."), "enable-conn-pool": flag("Whether connections are kept."), count: count("Requests.") },
};
