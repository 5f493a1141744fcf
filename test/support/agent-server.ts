import type { Agent } from "../../agent/agent.ts";
import { openDoor } from "../../agent/door.ts";
import { type AgentServer, createAgentServer } from "../../agent/server.ts";
import type { Wakefulness } from "../../agent/wakefulness.ts";
import type { ServerIdentity } from "../../certs/grpc-server-credentials.ts";
import { silentLog } from "../../common/log.ts";

/** An agent behind a door of its own, as in a sidecar. Port 0 takes a free one. */
export async function serveAgent({
  agent,
  identity,
  wakefulness = { stoodStill: false },
  host,
  port,
}: {
  readonly agent: Agent;
  readonly identity: ServerIdentity;
  readonly wakefulness?: Pick<Wakefulness, "stoodStill">;
  readonly host: string;
  readonly port: number;
}): Promise<Pick<AgentServer, "renew" | "close"> & { readonly port: number }> {
  let server: AgentServer | undefined;
  let newest = identity;
  const open = (): Promise<AgentServer> =>
    Promise.resolve((server ??= createAgentServer({ agent, identity: newest, wakefulness, log: silentLog })));
  const door = await openDoor({ host, port, server: open, log: silentLog });
  return {
    port: door.port,
    renew(renewed) {
      newest = renewed;
      server?.renew(renewed);
    },
    async close() {
      await server?.close();
      door.close();
    },
  };
}
