import * as z from "zod";
import {
  body,
  bodyText,
  headerPairs,
  headers,
  httpMethods,
  methodName,
  path,
  pathPattern,
  queries,
  queryPairs,
  statusCode,
} from "../blocks/http-message.ts";
import { dnsLabel, durationOrEmpty, objectName, textWith, wait } from "../blocks/scalars.ts";
import { describeSelection, fillNamespaces, selectionRules, selectorBlock, touchPods } from "../blocks/selector.ts";
import { problemWithJson } from "../blocks/texts.ts";
import type { FieldError } from "../field-error.ts";
import { isJsonObject, type JsonObject } from "../json.ts";
import type { Rule } from "../rule.ts";
import { listWords, show, suggest } from "../text.ts";
import type { ExperimentDefinition } from "./definition.ts";
import { describeDuration, duration, remoteCluster } from "./shared.ts";

const port = z
  .number({ error: ({ input }) => (input === undefined ? "is missing. Write the port that the pods serve, such as 8080." : undefined) })
  .int()
  .min(1)
  .max(65_535);

const replace = z.strictObject({
  path: path().optional().describe("For requests: another path; the query stays."),
  method: methodName().optional().describe("For requests: another method."),
  code: statusCode().optional().describe("For responses: another status code."),
  body: body().optional().describe("Another body, in base64."),
  queries: queries().optional().describe("For requests: values of queries, by name."),
  headers: headers().optional().describe("Values of headers, by name."),
});

const patch = z.strictObject({
  body: z
    .strictObject({
      type: z.enum(["JSON"]).describe("How the body is patched: JSON, a merge patch (RFC 7396)."),
      value: bodyText(problemWithJson).describe("The patch."),
    })
    .optional()
    .describe("Changes a JSON body."),
  queries: queryPairs().optional().describe("For requests: pairs of name and value that are added to the query."),
  headers: headerPairs().optional().describe("Pairs of name and value that are added to the headers."),
});

/** A key of a Secret's data. */
const dataKey = (sample: string): z.ZodString =>
  textWith(
    (text) =>
      /^[-._A-Za-z0-9]{1,253}$/.test(text)
        ? undefined
        : `${show(text)} cannot be a key of a Secret. Write letters, digits, "-", "_" and ".", such as "${sample}".`,
    { missing: `is missing. Write the key in the Secret's data, such as "${sample}".` },
  );

export const tls = z.strictObject({
  secretName: objectName({ missing: "is missing. Write the name of the Secret." }).describe("Name of the Secret."),
  secretNamespace: dnsLabel("a namespace", { missing: "is missing. Write the namespace of the Secret." }).describe(
    "Namespace of the Secret.",
  ),
  certName: dataKey("tls.crt").describe("Key of the certificate in the Secret's data."),
  keyName: dataKey("tls.key").describe("Key of the private key in the Secret's data."),
  caName: dataKey("ca.crt").optional().describe("Key of the CA certificate that the server is checked against."),
});

/** What happens to a message. */
export const messageActions = {
  abort: z.boolean().optional().describe("Closes the connection."),
  delay: wait().optional().describe("Holds the message up."),
  replace: replace.optional().describe("Puts other parts in."),
  patch: patch.optional().describe("Adds to parts."),
};

const schema = z.strictObject({
  ...selectorBlock,
  target: z.enum(["Request", "Response"]).describe("Which message is faulted."),
  port: port.describe("Port that the pods serve."),
  path: pathPattern().optional().describe("Only messages with this path, without its query; * and ? are wildcards."),
  method: methodName().optional().describe("Only messages with this method."),
  code: statusCode().optional().describe("Only responses with this status code."),
  request_headers: headers().optional().describe("Only where the request has all of these headers."),
  response_headers: headers().optional().describe("Only where the response has all of these headers."),
  ...messageActions,
  tls: tls.optional().describe("Certificate for connections over TLS."),
  duration: durationOrEmpty().optional().describe(duration),
  remoteCluster: objectName().optional().describe(remoteCluster),
});
type Spec = z.output<typeof schema>;

/** Base64 may be broken over lines, as `base64` prints it. */
function prepare(spec: JsonObject, namespace: string): JsonObject {
  const filled = fillNamespaces(spec, namespace);
  const { replace: written } = filled;
  if (!isJsonObject(written) || typeof written["body"] !== "string") return filled;
  return { ...filled, replace: { ...written, body: written["body"].replaceAll(/[\r\n]/g, "") } };
}

const rules: readonly Rule<Spec>[] = [
  ...selectionRules,
  {
    title: `of requests, method must be one of ${httpMethods.join(", ")}`,
    cel: `self.target != 'Request' || !has(self.method) || self.method in [${httpMethods.map((method) => `'${method}'`).join(", ")}]`,
    violations: ({ target, method }) => (target === "Request" && method !== undefined ? problemWithMethod(method) : []),
  },
  {
    // Those to methods of the application's own may be faulted, too.
    title: "of responses, method must be written in capitals where it is one of these",
    cel: undefined,
    violations: ({ target, method }) =>
      target === "Response" && method !== undefined && isKnownMethod(method.toUpperCase()) ? problemWithMethod(method) : [],
  },
  {
    title: "one of abort: true, delay, replace and patch must say what to do",
    cel: "(has(self.abort) && self.abort) || has(self.delay) || has(self.replace) || has(self.patch)",
    violations: ({ abort = false, delay, replace: put, patch: add }) =>
      abort || delay !== undefined || put !== undefined || add !== undefined
        ? []
        : [
            {
              path: "spec.abort",
              message:
                'is not true, and delay, replace and patch are missing, so that nothing would happen. Write one, such as delay: "1s".',
            },
          ],
  },
];

const isKnownMethod = (text: string): boolean => (httpMethods as readonly string[]).includes(text);

/** Methods have a case: "get" matches nothing. */
const problemWithMethod = (method: string): readonly FieldError[] =>
  isKnownMethod(method)
    ? []
    : [{ path: "spec.method", message: `${show(method)} is none of ${httpMethods.join(", ")}.${suggest(method, httpMethods)}` }];

/** Members of a block, in the user's words. */
const membersOf = (block: object | undefined): string => listWords(Object.keys(block ?? {}));

/** What only requests or only responses have. */
function ineffective(spec: Spec): readonly FieldError[] {
  const { target, abort, code, response_headers: wanted, replace: put, patch: add } = spec;
  const isRequest = target === "Request";
  const given = {
    code: isRequest ? code : undefined,
    response_headers: isRequest ? wanted : undefined,
    "replace.code": isRequest ? put?.code : undefined,
    "replace.path": isRequest ? undefined : put?.path,
    "replace.method": isRequest ? undefined : put?.method,
    "replace.queries": isRequest ? undefined : put?.queries,
    "patch.queries": isRequest ? undefined : add?.queries,
  };
  const other = isRequest ? "responses" : "requests";
  return [
    ...Object.entries(given).flatMap(([name, value]) =>
      value === undefined ? [] : [{ path: `spec.${name}`, message: `is for ${other} alone, and the target is ${target}.` }],
    ),
    ...(["replace", "patch"] as const).flatMap((name) => {
      const { [name]: block } = spec;
      if (block === undefined) return [];
      if (abort) return [{ path: `spec.${name}`, message: "has no effect on messages that are aborted before." }];
      return Object.keys(block).length === 0 ? [{ path: `spec.${name}`, message: "is empty, so that nothing is changed." }] : [];
    }),
  ];
}

function explain(spec: Spec): string {
  const { target, method, path: where, code, port: number } = spec;
  const effects = [
    ...(spec.abort ? ["aborts them"] : []),
    ...(spec.delay === undefined ? [] : [`delays them by ${spec.delay}`]),
    ...(spec.replace ? [`replaces their ${membersOf(spec.replace) || "nothing"}`] : []),
    ...(spec.patch ? [`patches their ${membersOf(spec.patch) || "nothing"}`] : []),
  ];
  const filters = [
    ...(where === undefined ? [] : [`path ${show(where)}`]),
    ...(code !== undefined && target === "Response" ? [`code ${code}`] : []),
    ...(spec.request_headers || spec.response_headers ? ["certain headers"] : []),
  ];
  const messages = `${method === undefined ? "" : `${show(method)} `}${target === "Request" ? "requests" : "responses"}`;
  const which = filters.length === 0 ? "" : ` with ${listWords(filters)}`;
  return `Faults ${messages}${which} on port ${number} of ${describeSelection(spec)}${describeDuration(spec)}: ${listWords(effects)}.`;
}

export const httpChaos: ExperimentDefinition<typeof schema> = {
  kind: "HTTPChaos",
  plural: "httpchaos",
  columns: [{ name: "duration", jsonPath: ".spec.duration" }],
  actorOf: () => "sidecar",
  targetOf: () => "pod",
  selections: (spec) => [{ key: ".", block: spec, need: "sidecar" }],
  isOneShot: () => false,
  schema,
  prepare,
  rules,
  unsupported: () => [],
  ineffective,
  touches: (spec) => [
    ...touchPods(spec),
    ...(spec.tls
      ? [{ on: "secret", namespace: spec.tls.secretNamespace, name: spec.tls.secretName, path: "spec.tls.secretName" } as const]
      : []),
  ],
  explain,
};
