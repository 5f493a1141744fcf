import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Environment } from "@marcbachmann/cel-js";
import { parseAllDocuments } from "yaml";
import { isJsonObject, type JsonObject } from "../../api/json.ts";
import { type KindName, kindNames, kinds } from "../../api/kinds/registry.ts";
import { machineActionNames } from "../../api/blocks/machine-actions.ts";
import { celName, type Rule } from "../../api/rule.ts";
import { manifestsOf } from "../support/manifests.ts";

const root = join(import.meta.dirname, "..", "..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");

const examples = globSync("examples/**/*.yaml", { cwd: root }).flatMap((file) =>
  parseAllDocuments(read(file)).map((document) => document.toJS() as { readonly kind: KindName; readonly spec: JsonObject }),
);

const environment = new Environment({ unlistedVariablesAreDyn: true });

/** As the API server would see it: whole numbers of JSON are CEL's `int`, and names of members are escaped. */
function asCel(value: unknown): unknown {
  if (typeof value === "number") return Number.isInteger(value) ? BigInt(value) : value;
  if (Array.isArray(value)) return value.map(asCel);
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [celName(key), asCel(member)]));
}

/** The value with one of its members left out, emptied or exchanged, in every way that is worth trying. */
function* variants(node: JsonObject): Generator<JsonObject> {
  for (const [key, value] of Object.entries(node)) {
    const { [key]: _, ...rest } = node;
    yield rest;
    for (const other of othersFor(value)) yield { ...node, [key]: other };
    if (isJsonObject(value)) for (const inner of variants(value)) yield { ...node, [key]: inner };
    if (!Array.isArray(value)) continue;
    for (const [index, item] of value.entries())
      if (isJsonObject(item)) for (const inner of variants(item)) yield { ...node, [key]: value.toSpliced(index, 1, inner) };
  }
}

function othersFor(value: unknown): readonly unknown[] {
  if (typeof value === "string") return ["", "0", "1", "100", "101", "x"];
  if (typeof value === "number") return [0, 1, -1];
  if (typeof value === "boolean") return [!value];
  return Array.isArray(value) ? [[]] : [{}];
}

/** Every spec of one choice of its fields with enums, so that rules about each action are met. */
function* choices(kind: KindName, spec: JsonObject): Generator<JsonObject> {
  yield spec;
  for (const key of ["action", "mode", "direction", "target", "type", "templateType"]) {
    const shape = (kinds[kind].schema as { readonly def?: { readonly shape?: Readonly<Record<string, unknown>> } }).def?.shape ?? {};
    for (const value of enumOf(shape[key])) yield { ...spec, [key]: value };
  }
}

function enumOf(schema: unknown): readonly string[] {
  if (typeof schema !== "object" || schema === null) return [];
  if ("options" in schema && Array.isArray(schema.options)) return schema.options as readonly string[];
  const { def } = schema as { readonly def?: { readonly innerType?: unknown } };
  return enumOf(def?.innerType);
}

/** Each configuration of a machine by itself. */
const machineSeeds = manifestsOf("PhysicalMachineChaos").flatMap(({ object: { spec } }) =>
  isJsonObject(spec)
    ? machineActionNames
        .filter((action) => spec[action] !== undefined)
        .map((action) => ({ action, mode: "all", address: ["http://a"], [action]: spec[action] }))
    : [],
);

/** What no example shows and a rule needs to be met. */
const more: Partial<Readonly<Record<KindName, readonly JsonObject[]>>> = {
  NetworkChaos: ["fixed", "fixed-percent"].map((mode) => ({
    action: "loss",
    mode: "all",
    direction: "to",
    ports: ["1"],
    protocol: "icmp",
    target: { mode },
  })),
  JVMChaos: [
    { action: "stress", mode: "all", memType: "x" },
    { action: "return", mode: "all", class: "C", method: "m", returnValue: "1", exception: "E", ruleData: "RULE" },
    { action: "mysql", mode: "all", mysqlConnectorVersion: "8", latency: 1, sqlType: "x" },
  ],
  PhysicalMachineChaos: [...machineSeeds, { action: "vm", mode: "all", address: ["http://a"], selector: { namespaces: ["ops"] }, vm: {} }],
  Schedule: manifestsOf("Schedule").flatMap(({ object: { spec } }) => (isJsonObject(spec) ? [spec] : [])),
  Workflow: manifestsOf("Workflow").flatMap(({ object: { spec } }) => (isJsonObject(spec) ? [spec] : [])),
};

describe("rules across fields", () => {
  for (const kind of kindNames) {
    it(`of ${kind} have a title each, and their CEL says the same as the check of the process, of sound and of broken specs`, () => {
      const { schema } = kinds[kind];
      const rules: readonly Rule<unknown>[] = kinds[kind].rules;
      assert.equal(new Set(rules.map(({ title }) => title)).size, rules.length);
      const held = rules.flatMap((rule) => (rule.cel === undefined ? [] : [{ rule, holds: environment.parse(rule.cel) }]));
      const shown = examples.filter((example) => example.kind === kind).flatMap(({ spec }) => [...choices(kind, spec)]);
      const seen = new Map<string, Set<boolean>>();
      for (const spec of [...shown, ...(more[kind] ?? [])].flatMap((seed) => [seed, ...variants(seed)])) {
        const parsed = schema.safeParse(spec);
        if (!parsed.success) continue;
        const self = asCel(parsed.data);
        for (const { rule, holds } of held) {
          const isSound: boolean = rule.violations(parsed.data).length === 0;
          assert.equal(holds({ self }), isSound, `${rule.title}: ${JSON.stringify(parsed.data)}`);
          seen.set(rule.title, (seen.get(rule.title) ?? new Set()).add(isSound));
        }
      }
      for (const { title, cel } of rules)
        if (cel !== undefined) assert.deepEqual(seen.get(title), new Set([true, false]), `"${title}" was never met both ways`);
    });
  }
});
