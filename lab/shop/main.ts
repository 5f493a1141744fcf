// The demo shop: `node main.ts store|web|client`. One file, no packages; Node strips the types.
import { Agent, createServer, get } from "node:http";

const PORT = 8080;
const REQUEST_TIMEOUT_MS = 1_000;
const CLIENT_PERIOD_MS = 200;

/** Answers 200 with the body, or 0 where no answer came in time. */
function fetchText(url: string, agent: Agent): Promise<{ readonly status: number; readonly body: string }> {
  return new Promise((resolve) => {
    const request = get(url, { agent, timeout: REQUEST_TIMEOUT_MS }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        body += chunk;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    });
    request.on("timeout", () => request.destroy(new Error("timeout")));
    request.on("error", (error) => resolve({ status: 0, body: error.message }));
  });
}

/** Knows the price. */
function store(): void {
  createServer((_request, response) => response.end('{"price":42}')).listen(PORT);
}

/** Asks the store through its Service, over connections that it keeps. */
function web(): void {
  const agent = new Agent({ keepAlive: true });
  createServer((request, response) => {
    if (request.url === "/healthz") {
      response.end("ok");
      return;
    }
    void fetchText("http://store:8080/price", agent).then(({ status, body }) => {
      response.statusCode = status === 200 ? 200 : 502;
      response.end(body);
    });
  }).listen(PORT);
}

/** Buys all day long and prints a line of JSON for each try: when, how long it took, and the status (0: no answer). */
function client(): void {
  const agent = new Agent({ keepAlive: true });
  setInterval(() => {
    const at = Date.now();
    const started = performance.now();
    void fetchText("http://web:8080/", agent).then(({ status }) => {
      console.log(JSON.stringify({ at, ms: Math.round((performance.now() - started) * 10) / 10, status }));
    });
  }, CLIENT_PERIOD_MS);
}

const roles: Readonly<Record<string, () => void>> = { store, web, client };
const role = roles[process.argv[2] ?? ""];
if (!role) {
  console.error(`Usage: node main.ts ${Object.keys(roles).join("|")}`);
  process.exitCode = 2;
} else {
  process.on("SIGTERM", () => process.exit(0));
  role();
}
