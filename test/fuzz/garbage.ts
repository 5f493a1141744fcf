import { Agent, request } from "node:https";
import fc from "fast-check";
import { createAuthority, openAuthority } from "../../certs/authority.ts";
import { systemClock } from "../../common/clock.ts";
import { CONTROLLER_ACCOUNT } from "../../common/names.ts";
import { type Log, silentLog } from "../../common/log.ts";
import { createMetrics } from "../../webhook/metrics.ts";
import { createReviewers } from "../../webhook/reviewers.ts";
import { serveReviews } from "../../webhook/server.ts";
import { injectionFacts } from "../support/admission.ts";
import { FakeKube } from "../support/fake-kube.ts";
import { mutated } from "../support/mutations.ts";
import { casesOf, reviewOf } from "./cases.ts";

/** A third of them sound reviews of changed objects, a third reviews that are changed themselves, a third such as texts that were cut or spoilt. */
function bodies({ requests, seed }: { readonly requests: number; readonly seed: number }): readonly string[] {
  const sound = Array.from({ length: Math.ceil(requests / 200 / 3) }, (_, chunk) => casesOf(chunk, seed))
    .flat()
    .map(reviewOf);
  const changed = fc.sample(mutated(sound, { roots: ["apiVersion", "kind", "request"] }), { numRuns: requests / 3, seed });
  const spoilt = fc.sample(
    fc.record({
      review: fc.constantFrom(...sound),
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      put: fc.string({ maxLength: 3 }),
      isCut: fc.boolean(),
    }),
    { numRuns: requests / 3, seed },
  );
  return [
    ...sound.map((review) => JSON.stringify(review)),
    ...changed.map(({ object }) => JSON.stringify(object)),
    ...spoilt.map(({ review, at, put, isCut }) => {
      const text = JSON.stringify(review);
      const place = Math.floor(at * text.length);
      return `${text.slice(0, place)}${put}${isCut ? "" : text.slice(place)}`;
    }),
  ];
}

const PATHS = ["/mutate", "/validate", "/inject", "/lift"] as const;

export interface Answers {
  /** How many answers had which status. */
  readonly statuses: Readonly<Record<string, number>>;
  /** What the webhook itself says that it failed over. */
  readonly logged: readonly unknown[];
}

/** Sends broken bodies, in turns to each path of a webhook as it serves. */
export async function sendGarbage(options: { readonly requests: number; readonly seed: number }): Promise<Answers> {
  const now = new Date();
  const credential = await createAuthority({ now, lifetimeMs: 3_600_000 });
  const { certificate, key } = await openAuthority(credential).issueServer(["localhost"], { now, lifetimeMs: 3_600_000 });
  const logged: unknown[] = [];
  const log: Log = { ...silentLog, error: (fields) => void logged.push(fields), child: () => log };
  const server = await serveReviews({
    reviewers: createReviewers({
      policy: { admitUnsupported: true, controllerAccount: CONTROLLER_ACCOUNT },
      kube: new FakeKube(),
      access: { findMissing: () => Promise.resolve([]) },
      limits: { policies: [], haltOn: () => undefined },
      labelsOf: () => ({}),
      clock: systemClock,
      injector: { factsFor: () => injectionFacts, onSkip: () => undefined },
    }),
    certificate: { cert: certificate, key },
    port: 0,
    metrics: createMetrics(),
    log,
  });
  const agent = new Agent({ keepAlive: true, maxSockets: 8, ca: credential.certificate });
  const post = (path: string, body: string): Promise<number> =>
    new Promise((resolve, reject) => {
      const to = { host: "localhost", port: server.port, path, method: "POST", agent, headers: { "content-type": "application/json" } };
      const sent = request(to, (response) => void response.resume().once("end", () => resolve(response.statusCode ?? 0)));
      sent.once("error", reject);
      sent.end(body);
    });
  try {
    const answers = await Promise.all(bodies(options).map((body, index) => post(PATHS[index % PATHS.length] ?? "", body)));
    const statuses: Record<string, number> = {};
    for (const status of answers) statuses[status] = (statuses[status] ?? 0) + 1;
    return { statuses, logged };
  } finally {
    agent.destroy();
    await server.close();
  }
}
