import * as z from "zod";
import { groups } from "../../common/names.ts";
import { durationOrEmpty } from "../blocks/scalars.ts";
import { headerLists } from "../blocks/http-message.ts";
import { httpUrl, statusCodes } from "../blocks/web.ts";
import type { JsonObject } from "../json.ts";
import type { KindDefinition } from "./definition.ts";

const INT32_MAX = 2 ** 31 - 1;
const count = (max = INT32_MAX) => z.number().int().min(1).max(max);

const http = z
  .strictObject({
    url: httpUrl().describe("What is asked for, such as http://api.shop:8080/health."),
    method: z.enum(["GET", "POST"]).default("GET").describe("Method of the request."),
    headers: headerLists().optional().describe("Headers of the request, each with all of its values."),
    body: z
      .string()
      .max(64 * 1024)
      .optional()
      .describe("Body of the request."),
    criteria: z
      .strictObject({ statusCode: statusCodes().describe("Status code that means success, or a range of them such as 200-299.") })
      .describe("What means success."),
  })
  .describe("The request, for the type HTTP.");

const schema = z.strictObject({
  mode: z
    .enum(["Synchronous", "Continuous"])
    .default("Synchronous")
    .describe("Synchronous ends with enough successes, Continuous goes on until duration or too many failures."),
  type: z.enum(["HTTP"]).default("HTTP").describe("How it is checked."),
  duration: durationOrEmpty().optional().describe("How long the whole check lasts at most: a Go duration such as 5m."),
  timeoutSeconds: count().default(1).describe("Seconds that one request may take."),
  intervalSeconds: count().default(10).describe("Seconds between two requests."),
  failureThreshold: count().default(3).describe("Failures in a row that mean failure."),
  successThreshold: count().default(1).describe("Successes in a row that mean success."),
  recordsHistoryLimit: count(1_000).default(100).describe("Results that are kept."),
  http: http.optional(),
});

const time = () => z.string().meta({ format: "date-time" });
const status = z.object({
  startTime: time().optional(),
  completionTime: time().optional(),
  count: z.number().int().optional().describe("Requests made in all."),
  records: z
    .array(z.object({ startTime: time(), outcome: z.enum(["Success", "Failure"]) }))
    .optional()
    .describe("Results, the newest last."),
  conditions: z
    .array(
      z.object({
        type: z.enum(["Completed", "DurationExceed", "FailureThresholdExceed", "SuccessThresholdExceed"]),
        status: z.enum(["True", "False", "Unknown"]),
        reason: z.string(),
        lastProbeTime: time(),
        lastTransitionTime: time(),
      }),
    )
    .optional(),
});

/** Chaos Mesh's own leniency: no mode is Synchronous. */
function prepare(spec: JsonObject): JsonObject {
  const { mode, ...rest } = spec;
  return mode === "" ? rest : spec;
}

export const statusCheck: KindDefinition<typeof schema> = {
  kind: "StatusCheck",
  group: groups.chaos,
  plural: "statuschecks",
  singular: "statuscheck",
  shortNames: [],
  scope: "Namespaced",
  columns: [{ name: "completed", jsonPath: '.status.conditions[?(@.type=="Completed")].status' }],
  description: "StatusCheck asks a service again and again whether it is well.",
  schema,
  status,
  mayChange: false,
  madeBy: "anyone",
  prepare,
  rules: [
    {
      title: "type HTTP needs http",
      cel: "self.type != 'HTTP' || has(self.http)",
      violations: ({ http: request }) =>
        request ? [] : [{ path: "spec.http", message: "is missing: type HTTP needs it. Write url, and criteria with a statusCode." }],
    },
  ],
  unsupported: () => [],
  ineffective: () => [],
  touches: () => [],
  embedded: () => [],
  explain: ({ http: request, intervalSeconds, mode, duration }) =>
    `Asks ${request?.url ?? "nothing"} every ${intervalSeconds} s for the status ${request?.criteria.statusCode ?? ""}${mode === "Continuous" ? ", continuously" : ""}${duration ? ` for ${duration}` : ""}.`,
};
