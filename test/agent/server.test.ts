import assert from "node:assert/strict";
import { createSecureContext } from "node:tls";
import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { type ChannelCredentials, Client, credentials, type ServiceError, status } from "@grpc/grpc-js";
import { Agent } from "../../agent/agent.ts";
import { createPlannedCarrier } from "../../agent/planned-carrier.ts";
import { createExecutor } from "../../agent/executor.ts";
import type { Journal } from "../../agent/journal.ts";
import { olderReflectionService } from "../../agent/reflection.ts";
import { type Authority, createAuthority, type Credential, openAuthority } from "../../certs/authority.ts";
import { CONTROLLER_URI, podUri } from "../../certs/identity.ts";
import { createAgentKey } from "../../certs/keys.ts";
import { systemClock } from "../../common/clock.ts";
import { silentLog } from "../../common/log.ts";
import type { AgentTarget } from "../../controller/agents/link.ts";
import { createDial } from "../../controller/agents/dial.ts";
import type { DesiredFaults, Report } from "../../proto/gen/agent.ts";
import { HealthCheckResponse_ServingStatus as Serving, HealthClient } from "../../proto/gen/grpc/health/v1/health.ts";
import {
  type ServerReflectionRequest,
  type ServerReflectionResponse,
  ServerReflectionService,
} from "../../proto/gen/grpc/reflection/v1/reflection.ts";
import { AgentClient } from "../../proto/gen/services.ts";
import { serveAgent } from "../support/agent-server.ts";
import { createFakeFamily, FakeKernel } from "../support/fake-family.ts";
import { networkFault } from "../support/network-faults.ts";

const HOUR = 3_600_000;
const now = new Date();
const NAME = "sidecar.squall.invalid";
const UID = "u1";

const at = (uid: string): AgentTarget => ({ uid, uri: podUri({ namespace: "shop", uid }), address: "127.0.0.1" });

describe("an agent's gRPC server", () => {
  let authority: Authority;
  let stranger: Authority;
  let controller: Credential;
  let agent: Agent;
  let server: Awaited<ReturnType<typeof serveAgent>>;
  let wakefulness: { stoodStill: boolean };
  const clients: Client[] = [];

  before(async () => {
    authority = openAuthority(await createAuthority({ now, lifetimeMs: HOUR }));
    stranger = openAuthority(await createAuthority({ now, lifetimeMs: HOUR }));
    controller = await authority.issueClient(CONTROLLER_URI, { now, lifetimeMs: HOUR });
  });
  beforeEach(async () => {
    const kernel = new FakeKernel(systemClock);
    const family = createFakeFamily(kernel);
    const journal: Journal = { leftovers: [], add: () => Promise.resolve(), clear: () => Promise.resolve() };
    const executor = createExecutor({ family, programs: kernel, journal, log: silentLog });
    agent = new Agent({
      targetUid: UID,
      version: "0.1.0",
      carrier: createPlannedCarrier({ family, executor, log: silentLog }),
      clock: systemClock,
      log: silentLog,
    });
    wakefulness = { stoodStill: false };
    server = await serveAgent({ agent, identity: await identity(UID), wakefulness, host: "127.0.0.1", port: 0 });
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) client.close();
    await agent.close();
    await server.close();
  });

  async function identity(uid: string): Promise<Credential & { readonly clientCas: string }> {
    const key = await createAgentKey();
    const certificate = authority.issueAgent(podUri({ namespace: "shop", uid }), key.publicKey, { now, lifetimeMs: HOUR });
    return { certificate, key: key.privateKey, clientCas: authority.certificate };
  }

  const clientOf = (uid: string): Promise<Credential> =>
    authority.issueClient(podUri({ namespace: "shop", uid }), { now, lifetimeMs: HOUR });

  const secured = (own: Credential | null): ChannelCredentials =>
    credentials.createFromSecureContext(
      createSecureContext({ ca: authority.certificate, minVersion: "TLSv1.3", ...(own && { cert: own.certificate, key: own.key }) }),
      { checkServerIdentity: () => undefined },
    );

  function connect<C extends Client>(
    make: (address: string, channel: ChannelCredentials, options: object) => C,
    own: Credential | null = controller,
  ): C {
    const client = make(`127.0.0.1:${server.port}`, secured(own), {
      "grpc.ssl_target_name_override": NAME,
      "grpc.use_local_subchannel_pool": 1,
      "grpc.enable_retries": 0,
    });
    clients.push(client);
    return client;
  }
  const agentClient = (own: Credential | null = controller): AgentClient => connect((...parts) => new AgentClient(...parts), own);

  const desired = (generation: number, change: Partial<DesiredFaults> = {}): DesiredFaults => ({
    targetUid: UID,
    order: { leaderEpoch: 5, generation },
    faults: [],
    ...change,
  });

  function apply(client: AgentClient, sent: DesiredFaults): Promise<Report | string> {
    return new Promise((resolve) => {
      client.apply(sent, (error: ServiceError | null, report) => resolve(error ? `${status[error.code]}: ${error.details}` : report));
    });
  }

  async function refusal(client: AgentClient, sent: DesiredFaults): Promise<string> {
    const answer = await apply(client, sent);
    return typeof answer === "string" ? answer : "served";
  }

  /** One unary call of any method with bytes as they are: its status by name. */
  function call(path: string, bytes: Buffer, own: Credential | null = controller): Promise<string> {
    const client = connect((...parts) => new Client(...parts), own);
    return new Promise((resolve) => {
      client.makeUnaryRequest(
        path,
        (same: Buffer) => same,
        (same) => same,
        bytes,
        { deadline: Date.now() + 4_000 } as never,
        (error) => resolve(error ? (status[error.code] ?? "?") : "OK"),
      );
    });
  }

  const strangers: readonly (readonly [who: string, make: () => Promise<Credential | null>, answer: RegExp])[] = [
    ["nobody, without a certificate", () => Promise.resolve(null), /^UNAVAILABLE/],
    ["another pod, whose certificate is for serving", () => identity("u2"), /^UNAVAILABLE/],
    ["a client of the same CA that is not the controller", () => clientOf("u2"), /^UNAUTHENTICATED/],
    ["a controller of another CA", () => stranger.issueClient(CONTROLLER_URI, { now, lifetimeMs: HOUR }), /^UNAVAILABLE/],
    [
      "a controller whose certificate is over",
      () => authority.issueClient(CONTROLLER_URI, { now: new Date(now.getTime() - 2 * HOUR), lifetimeMs: HOUR }),
      /^UNAVAILABLE/,
    ],
  ];
  for (const [who, make, answer] of strangers) {
    it(`turns ${who} away`, async () => {
      const found = await apply(agentClient(await make()), desired(1));
      assert.match(typeof found === "string" ? found : "served", answer);
      assert.deepEqual(agent.report().order, { leaderEpoch: 0, generation: 0 });
    });
  }

  it("tells its health to the controller and to nobody else", async () => {
    const health = (own: Credential, service: string): Promise<string> =>
      new Promise((resolve) => {
        connect((...parts) => new HealthClient(...parts), own).check({ service }, (error, found) =>
          resolve(error ? (status[error.code] ?? "?") : `status ${found.status}`),
        );
      });
    assert.equal(await health(controller, ""), `status ${Serving.SERVING}`);
    assert.equal(await health(controller, "squall.agent.v1.Agent"), `status ${Serving.SERVING}`);
    assert.equal(await health(controller, "squall.agent.v1.Other"), "NOT_FOUND");
    assert.equal(await health(await clientOf("u2"), ""), "UNAUTHENTICATED");
  });

  it("describes its services, under the old name of reflection as under the new one", async () => {
    for (const service of [ServerReflectionService, olderReflectionService]) {
      const ask = async (messageRequest: ServerReflectionRequest["messageRequest"]) => {
        const { path, requestSerialize, responseDeserialize } = service.serverReflectionInfo;
        const stream = connect((...parts) => new Client(...parts)).makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
        stream.write({ host: "", messageRequest });
        stream.end();
        const [found] = await stream.toArray();
        return (found as ServerReflectionResponse).messageResponse;
      };
      const listed = await ask({ $case: "listServices", value: "" });
      assert.ok(listed?.$case === "listServicesResponse");
      const served = listed.value.service.map(({ name }) => name);
      assert.deepEqual(served, ["squall.agent.v1.Agent", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"]);
      for (const symbol of [...served, "squall.agent.v1.Agent.Apply", "squall.faults.v1.Shape"]) {
        const described = await ask({ $case: "fileContainingSymbol", value: symbol });
        assert.ok(described?.$case === "fileDescriptorResponse", symbol);
        const files = described.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
        // the file itself first, and all that it imports: enough to call the service
        const registry = createFileRegistry(files[0] ?? assert.fail(), (name) => files.find((file) => file.name === name));
        assert.ok(
          [...registry].some(({ typeName }) => symbol.startsWith(typeName)),
          symbol,
        );
      }
      assert.deepEqual(await ask({ $case: "fileByFilename", value: "none.proto" }), {
        $case: "errorResponse",
        value: { errorCode: status.NOT_FOUND, errorMessage: '"none.proto" is not known here.' },
      });
    }
  });

  it("refuses what is stale, meant for another or malformed, with a typed error, and changes nothing", async () => {
    const client = agentClient();
    assert.equal(typeof (await apply(client, desired(7))), "object");
    assert.match(await refusal(client, desired(6)), /^FAILED_PRECONDITION: Order 5\.6 is older than 5\.7/);
    assert.match(await refusal(client, desired(8, { targetUid: "u2" })), /^FAILED_PRECONDITION: This is the agent of u1/);
    assert.match(await refusal(client, desired(8, { order: undefined })), /^INVALID_ARGUMENT/);
    const twice = networkFault("a", []);
    assert.match(await refusal(client, desired(8, { faults: [twice, twice] })), /^INVALID_ARGUMENT: The fault a is there twice/);
    assert.equal(await call("/squall.agent.v1.Agent/Apply", Buffer.alloc(5 << 20)), "RESOURCE_EXHAUSTED");
    assert.equal(await call("/squall.agent.v1.Agent/Apply", Buffer.from("ffffffff", "hex")), "INTERNAL");
    assert.equal(await call("/squall.agent.v1.Agent/Nothing", Buffer.alloc(0)), "UNIMPLEMENTED");
    assert.deepEqual(agent.report().order, { leaderEpoch: 5, generation: 7 });
  });

  it("ends the stream of a leader that is over", async () => {
    const client = agentClient();
    await apply(client, desired(1));
    const stream = client.hold();
    stream.on("data", () => undefined);
    const ended = new Promise<ServiceError>((resolve) => stream.on("error", resolve));
    stream.write({ targetUid: UID, leaderEpoch: 4 });
    const error = await ended;
    assert.equal(`${status[error.code]}: ${error.details}`, "FAILED_PRECONDITION: Leader epoch 4 is over; 5 was seen.");
  });

  it("believes nothing that waited while it stood still", async () => {
    const client = agentClient();
    await apply(client, desired(1));
    const stream = client.hold();
    stream.on("data", () => undefined);
    const ended = new Promise<ServiceError>((resolve) => stream.on("error", resolve));
    wakefulness.stoodStill = true;
    stream.write({ targetUid: UID, leaderEpoch: 5 });
    assert.equal(status[(await ended).code], "UNAVAILABLE");
    assert.match(await refusal(client, desired(2)), /^UNAVAILABLE: This process stood still/);
    assert.deepEqual(agent.report().order, { leaderEpoch: 5, generation: 1 });
    wakefulness.stoodStill = false;
    assert.equal(typeof (await apply(client, desired(2))), "object");
  });

  it("shows a renewed certificate to newcomers and keeps the streams that are open", async () => {
    const client = agentClient();
    await apply(client, desired(1));
    const stream = client.hold();
    const reports: Report[] = [];
    stream.on("data", (report: Report) => reports.push(report));
    let hasFailed = false;
    stream.on("error", () => {
      hasFailed = true;
    });
    stream.write({ targetUid: UID, leaderEpoch: 5 });
    for (let renewal = 0; renewal < 20; renewal++) {
      server.renew(await identity(`renewed-${renewal}`));
      // the old connection goes on, and a new one sees the new identity
      assert.equal(typeof (await apply(client, desired(2 + renewal, { faults: [networkFault("a", [])] }))), "object");
      const dial = createDial({
        credentials: () => ({ certificate: controller.certificate, key: controller.key, trusted: authority.certificate }),
        port: server.port,
      });
      const link = dial(at(`renewed-${renewal}`));
      await assert.rejects(link.apply(desired(1)), /FAILED_PRECONDITION/); // it got through to the agent, which knows better
      link.close();
    }
    assert.equal(hasFailed, false);
    assert.ok(reports.length > 1);
    stream.cancel();
  });

  it("is not talked to by a controller that means another pod", async () => {
    const dial = createDial({
      credentials: () => ({ certificate: controller.certificate, key: controller.key, trusted: authority.certificate }),
      port: server.port,
    });
    const link = dial(at("somebody-else"));
    await assert.rejects(link.apply(desired(9)), /The sidecar at 127\.0\.0\.1 cannot be reached/);
    link.close();
    assert.deepEqual(agent.report().order, { leaderEpoch: 0, generation: 0 });
  });
});
