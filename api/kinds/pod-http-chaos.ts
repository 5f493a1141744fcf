import * as z from "zod";
import { headers } from "../blocks/http-message.ts";
import type { KindDefinition } from "./definition.ts";
import { messageActions, tls } from "./http-chaos.ts";
import { perPod, processStatus, source, text } from "./per-pod.ts";

const MOST = 5_000;
const int32 = () =>
  z
    .number()
    .int()
    .min(-(2 ** 31))
    .max(2 ** 31 - 1);

const schema = z.strictObject({
  rules: z
    .array(
      z.strictObject({
        target: text().describe("Request or Response."),
        port: int32().describe("Port that the pod serves."),
        source: source().optional(),
        selector: z
          .strictObject({
            port: int32().optional().describe("Port that the pod serves."),
            path: text().optional().describe("Messages of this path alone."),
            method: text().optional().describe("Messages of this method alone."),
            code: int32().optional().describe("Responses of this status code alone."),
            request_headers: headers().optional().describe("Where the request has these headers."),
            response_headers: headers().optional().describe("Where the response has these headers."),
          })
          .describe("Which messages are faulted."),
        actions: z.strictObject(messageActions).describe("What happens to them."),
      }),
    )
    .max(MOST)
    .optional()
    .describe("What happens to messages."),
  tls: tls.optional().describe("Certificate for connections over TLS."),
});

export const podHttpChaos: KindDefinition<typeof schema> = {
  ...perPod,
  kind: "PodHttpChaos",
  insteadOf: "HTTPChaos",
  plural: "podhttpchaos",
  singular: "podhttpchaos",
  description: "PodHttpChaos has the HTTP faults of one pod, as Chaos Mesh keeps them.",
  schema,
  status: processStatus,
  prepare: (spec) => spec,
  explain: ({ rules = [] }) => `Holds ${rules.length} HTTP faults of the pod of its name.`,
};
