import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { createSecureContext } from "node:tls";
import { AgentCredentials } from "../../../controller/agents/agent-credentials.ts";

describe("AgentCredentials", () => {
  let server: Server;
  let accepted: Promise<Socket>;
  let socket: Socket;
  beforeEach(async () => {
    server = createServer();
    accepted = once(server, "connection").then(([found]: Socket[]) => found ?? assert.fail());
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
    await once(socket, "connect");
  });
  afterEach(async () => {
    socket.destroy();
    (await accepted).destroy();
    server.close();
  });

  const connector = () =>
    new AgentCredentials({
      context: createSecureContext(),
      serverName: "sidecar.invalid",
      uri: "spiffe://squall/x",
    })["_createSecureConnector"]();

  it("let go of a connection to an agent that never answers", async () => {
    const own = connector();
    const securing = own.connect(socket);
    const far = await accepted;
    far.resume();
    own.destroy();
    await assert.rejects(securing, /Nobody waits for this connection/);
    await once(far, "close");
  });

  it("give up when the agent hangs up in the middle of it", async () => {
    const securing = connector().connect(socket);
    (await accepted).destroy();
    await assert.rejects(securing);
  });
});
