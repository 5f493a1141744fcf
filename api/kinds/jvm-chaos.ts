import * as z from "zod";
import { containerNames, describeContainers } from "../blocks/containers.ts";
import { durationOrEmpty, objectName } from "../blocks/scalars.ts";
import { describeSelection, fillNamespaces, selectionRules, selectorBlock, touchPods } from "../blocks/selector.ts";
import { line } from "../blocks/texts.ts";
import type { JsonObject } from "../json.ts";
import type { Rule } from "../rule.ts";
import { listWords, show, suggest } from "../text.ts";
import type { ExperimentDefinition } from "./definition.ts";
import { isGiven, unusedBy } from "./ineffective.ts";
import { describeDuration, duration, remoteCluster } from "./shared.ts";

const INT32_MAX = 2 ** 31 - 1;
const DEFAULT_PORT = 9277;
const LONGEST_RULE = 65_536;
const count = () => z.number().int().min(0).max(INT32_MAX).optional();

const memoryTypes = ["stack", "heap"] as const;
const connectorVersions = ["5", "8"] as const;
const sqlTypes = ["select", "insert", "update", "delete", "replace"] as const;

/** Texts may be empty and numbers 0, which both mean: not given, as Chaos Mesh's webhook writes them. */
const schema = z.strictObject({
  action: z
    .enum(["latency", "return", "exception", "stress", "gc", "ruleData", "mysql"])
    .describe("What happens inside the Java process; ruleData is a rule of Byteman's as it is."),
  ...selectorBlock,
  containerNames: containerNames(),
  port: z.number().int().min(1).max(65_535).default(DEFAULT_PORT).describe("Port of the agent inside the Java process."),
  pid: count().describe("Process to attach to; the first java by default."),
  class: line().optional().describe("For latency, return and exception: the class, with its package."),
  method: line().optional().describe("For latency, return and exception: the method."),
  returnValue: line().optional().describe("For return: what the method returns, written as in Java."),
  exception: line().optional().describe('For exception and mysql: what is thrown, such as java.io.IOException("BOOM").'),
  latency: count().describe("For latency and mysql: milliseconds."),
  ruleData: z.string().max(LONGEST_RULE).optional().describe("For ruleData: a rule in Byteman's language."),
  name: line().optional().describe("Name of the rule. One that is unique is made where none is given."),
  cpuCount: count().describe("For stress: number of busy threads."),
  memType: line({ max: 64 }).optional().describe("For stress: which memory is filled, stack or heap."),
  mysqlConnectorVersion: line({ max: 64 }).optional().describe("For mysql: version of the connector, 5 or 8, as a text."),
  database: line().optional().describe("For mysql: only statements on this database."),
  table: line().optional().describe("For mysql: only statements on this table."),
  sqlType: line({ max: 64 }).optional().describe("For mysql: only statements of this type: select, insert, update, delete or replace."),
  duration: durationOrEmpty().optional().describe(duration),
  remoteCluster: objectName().optional().describe(remoteCluster),
});
type Spec = z.output<typeof schema>;

/** Chaos Mesh takes port 0 for its default. */
function prepare(spec: JsonObject, namespace: string): JsonObject {
  const filled = fillNamespaces(spec, namespace);
  const { port, ...others } = filled;
  return port === 0 ? others : filled;
}

/** That actions need a field. Empty texts and zeros count as none. */
function needs(
  field: "class" | "method" | "returnValue" | "exception" | "latency" | "ruleData",
  actions: readonly Spec["action"][],
  sample: string,
): Rule<Spec> {
  const nothing = field === "latency" ? "0" : "''";
  return {
    title: `${listWords(actions)} ${actions.length === 1 ? "needs" : "need"} ${field}`,
    cel: `!(self.action in [${actions.map((action) => `'${action}'`).join(", ")}]) || (has(self.${field}) && self.${field} != ${nothing})`,
    violations: (spec) =>
      actions.includes(spec.action) && !isGiven(spec[field])
        ? [{ path: `spec.${field}`, message: `is missing: the action ${spec.action} needs it. Write one such as ${sample}.` }]
        : [],
  };
}

const rules: readonly Rule<Spec>[] = [
  ...selectionRules,
  needs("class", ["latency", "return", "exception"], '"com.example.Pricing"'),
  needs("method", ["latency", "return", "exception"], '"quote"'),
  needs("latency", ["latency"], "1500, in milliseconds"),
  needs("returnValue", ["return"], '"42"; value is the number of the mode'),
  needs("exception", ["exception"], `'java.io.IOException("BOOM")'`),
  needs("ruleData", ["ruleData"], '"RULE r\\nCLASS C\\nMETHOD m\\nAT ENTRY\\nIF true\\nDO return 1\\nENDRULE"'),
  {
    title: "stress needs one of cpuCount and memType, and not both",
    cel: "self.action != 'stress' || ((has(self.cpuCount) && self.cpuCount > 0) != (has(self.memType) && self.memType != ''))",
    violations: ({ action, cpuCount, memType }) => {
      if (action !== "stress" || isGiven(cpuCount) !== isGiven(memType)) return [];
      return isGiven(memType)
        ? [{ path: "spec.memType", message: "stands beside cpuCount, and stress is on one of them at a time. Leave one out." }]
        : [
            {
              path: "spec.cpuCount",
              message: "is missing: stress needs cpuCount or memType. Write one such as cpuCount: 2 or memType: heap.",
            },
          ];
    },
  },
  isOneOf("memType", "stress", memoryTypes),
  {
    title: "mysql needs mysqlConnectorVersion",
    cel: "self.action != 'mysql' || (has(self.mysqlConnectorVersion) && self.mysqlConnectorVersion != '')",
    violations: ({ action, mysqlConnectorVersion }) =>
      action === "mysql" && !isGiven(mysqlConnectorVersion)
        ? [
            {
              path: "spec.mysqlConnectorVersion",
              message: 'is missing: mysql needs the version of the connector. Write "5" for 5.x or "8" for 8.x.',
            },
          ]
        : [],
  },
  isOneOf("mysqlConnectorVersion", "mysql", connectorVersions),
  isOneOf("sqlType", "mysql", sqlTypes),
  {
    title: "mysql needs exception or latency",
    cel: "self.action != 'mysql' || (has(self.exception) && self.exception != '') || (has(self.latency) && self.latency > 0)",
    violations: ({ action, exception, latency }) =>
      action === "mysql" && !isGiven(exception) && !isGiven(latency)
        ? [
            {
              path: "spec.exception",
              message: 'is missing: mysql needs exception or latency. Write one such as exception: "BOOM" or latency: 1500.',
            },
          ]
        : [],
  },
];

/** That a field is one of some words, where an action uses it; other actions leave it alone, whatever is there. */
function isOneOf(field: "memType" | "mysqlConnectorVersion" | "sqlType", action: Spec["action"], known: readonly string[]): Rule<Spec> {
  return {
    title: `for ${action}, ${field} must be one of ${known.join(", ")}`,
    cel: `self.action != '${action}' || !has(self.${field}) || self.${field} in [${["", ...known].map((word) => `'${word}'`).join(", ")}]`,
    violations: (spec) => {
      const { [field]: text = "" } = spec;
      if (spec.action !== action || text === "" || known.includes(text)) return [];
      return [{ path: `spec.${field}`, message: `${show(text)} is none of ${known.join(", ")}.${suggest(text, known)}` }];
    },
  };
}

function explain(spec: Spec): string {
  const method = show(`${spec.class ?? ""}.${spec.method ?? ""}`);
  const statements = `${spec.sqlType || "all"} statements`;
  const effect = {
    latency: () => `Delays ${method} by ${spec.latency ?? 0} ms`,
    return: () => `Lets ${method} return ${show(spec.returnValue)}`,
    exception: () => `Lets ${method} throw ${show(spec.exception)}`,
    stress: () => (spec.memType ? `Fills the ${spec.memType}` : `Keeps ${spec.cpuCount ?? 0} threads busy`),
    gc: () => "Collects garbage",
    ruleData: () => "Loads a rule of Byteman's",
    mysql: () => (spec.exception ? `Fails ${statements} with ${show(spec.exception)}` : `Delays ${statements} by ${spec.latency ?? 0} ms`),
  }[spec.action]();
  return `${effect} in the Java process of ${describeContainers(spec)}${describeSelection(spec)}${describeDuration(spec)}.`;
}

export const jvmChaos: ExperimentDefinition<typeof schema> = {
  kind: "JVMChaos",
  plural: "jvmchaos",
  columns: [
    { name: "action", jsonPath: ".spec.action" },
    { name: "duration", jsonPath: ".spec.duration" },
  ],
  actorOf: () => "daemon",
  targetOf: () => "container",
  selections: (spec) => [{ key: ".", block: spec, need: "api" }],
  isOneShot: () => false,
  schema,
  prepare,
  rules,
  unsupported: () => [],
  ineffective: (spec) =>
    unusedBy(spec, {
      class: ["latency", "return", "exception"],
      method: ["latency", "return", "exception"],
      returnValue: ["return"],
      exception: ["exception", "mysql"],
      latency: ["latency", "mysql"],
      ruleData: ["ruleData"],
      cpuCount: ["stress"],
      memType: ["stress"],
      mysqlConnectorVersion: ["mysql"],
      database: ["mysql"],
      table: ["mysql"],
      sqlType: ["mysql"],
    }),
  touches: touchPods,
  explain,
};
