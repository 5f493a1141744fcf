import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import type { Log } from "../common/log.ts";
import type { AgentServer } from "./server.ts";

/** Where the controller knocks. */
export interface Door {
  /** The port it listens on. */
  readonly port: number;
  /** Stops listening and breaks what the server left open. */
  close(): void;
}

/**
 * Listens, and asks for the server when the first connection comes: TLS and gRPC take more memory than all else of an agent, and most agents of
 * a cluster are never called. `server` is asked for each connection and may be slow once; rejects when it does.
 */
export async function openDoor({
  host,
  port,
  server,
  log,
}: {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly server: () => Promise<AgentServer>;
  readonly log: Log;
}): Promise<Door> {
  const connections = new Set<Socket>();
  // Paused: whatever the client says first is for TLS to read.
  const door = createServer({ pauseOnConnect: true, noDelay: true }, (connection) => {
    connections.add(connection);
    connection.once("close", () => connections.delete(connection));
    connection.on("error", (error) => log.debug({ err: error }, "a connection broke"));
    server().then(
      (ready) => ready.serve(connection),
      (error: unknown) => {
        log.error({ err: error }, "a connection cannot be served");
        connection.destroy();
      },
    );
  });
  door.listen(port, host);
  await once(door, "listening");
  return {
    port: (door.address() as AddressInfo).port,
    close() {
      door.close();
      for (const connection of connections) connection.destroy();
    },
  };
}
