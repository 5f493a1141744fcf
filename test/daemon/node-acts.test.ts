import assert from "node:assert/strict";
import { type ServerUnaryCall, status } from "@grpc/grpc-js";
import { silentLog } from "../../common/log.ts";
import { serveNodeActs } from "../../daemon/node-acts.ts";
import { RuntimeError } from "../../daemon/runtime/container-runtime.ts";
import type { ContainerRequest, NodeRequest } from "../../proto/gen/agent.ts";

const request = (own: Partial<ContainerRequest> = {}): ContainerRequest => ({
  targetUid: "node/n1",
  leaderEpoch: 3,
  target: { podUid: "u1", namespace: "shop", pod: "a", container: "app" },
  containerId: "containerd://1",
  ...own,
});

describe("acts on containers of a node", () => {
  let killed: string[];
  let failure: Error | undefined;
  const found = { id: "1", podUid: "u1", namespace: "shop", pod: "a", container: "app", pid: 4711, startedAtMs: 0 };
  const runtime = {
    find: ({ container }: { readonly container: string }) => Promise.resolve(container === "app" ? found : undefined),
    kill: ({ podUid, container, id }: { readonly podUid: string; readonly container: string; readonly id: string }) => {
      if (failure !== undefined) return Promise.reject(failure);
      const isThere = !killed.includes(`${podUid}/${container} ${id}`);
      if (isThere) killed.push(`${podUid}/${container} ${id}`);
      return Promise.resolve(isThere ? ("killed" as const) : ("gone" as const));
    },
  };
  const wakefulness = { stoodStill: false };
  let detached: number;
  const volumes = { detach: () => Promise.resolve((detached += 2)) };
  let server: ReturnType<typeof serveNodeActs>;
  beforeEach(() => {
    killed = [];
    failure = undefined;
    detached = 0;
    server = serveNodeActs({ agent: "node/n1", runtime, volumes, wakefulness, log: silentLog });
  });

  /** What a client would get: the reply, or code and details. */
  function call(method: "containerKill" | "containerGetPid", asked: ContainerRequest): Promise<unknown> {
    return new Promise((resolve) => {
      const incoming = { request: asked } as ServerUnaryCall<ContainerRequest, never>; // handlers read nothing else
      server[method](incoming, (error, reply) => resolve(error === null ? reply : `${error.code} ${error.details}`));
    });
  }

  it("take volumes off the node that is named, for the leader alone", async () => {
    const detach = (asked: NodeRequest): Promise<unknown> =>
      new Promise((resolve) => {
        const incoming = { request: asked } as ServerUnaryCall<NodeRequest, never>; // handlers read nothing else
        server.detachVolumes(incoming, (error, reply) => resolve(error === null ? reply : `${error.code} ${error.details}`));
      });
    assert.match(String(await detach({ targetUid: "node/n2", leaderEpoch: 3 })), /^9 This is the daemon of node\/n1/);
    assert.equal(detached, 0);
    assert.deepEqual(await detach({ targetUid: "node/n1", leaderEpoch: 3 }), { count: 2 });
    assert.match(String(await detach({ targetUid: "node/n1", leaderEpoch: 2 })), /^9 Leader epoch 2 is over/);
    assert.equal(detached, 2);
  });

  it("kill the container that is named, and say so when it had ended before", async () => {
    assert.deepEqual(await call("containerKill", request()), { wasGone: false });
    assert.deepEqual(await call("containerKill", request()), { wasGone: true });
    assert.deepEqual(killed, ["u1/app containerd://1"]);
  });

  it("find the first process of a container", async () => {
    assert.deepEqual(await call("containerGetPid", request()), { pid: 4711 });
    const target = { podUid: "u1", namespace: "shop", pod: "a", container: "proxy" };
    assert.equal(
      await call("containerGetPid", request({ target })),
      `${status.NOT_FOUND} No container proxy of pod shop/a runs on this node.`,
    );
  });

  const refused: readonly (readonly [title: string, asked: ContainerRequest, answer: RegExp])[] = [
    ["of another node", request({ targetUid: "node/n2" }), /^9 This is the daemon of node\/n1/],
    ["that name no pod", request({ target: undefined }), /^9 The request does not say/],
    [
      "that name no container",
      request({ target: { podUid: "u1", namespace: "shop", pod: "a", container: "" } }),
      /^9 The request does not say/,
    ],
  ];
  for (const [title, asked, answer] of refused) {
    it(`are not done for requests ${title}`, async () => {
      assert.match(String(await call("containerKill", asked)), answer);
      assert.deepEqual(killed, []);
    });
  }

  it("are not done for what waited while the daemon stood still", async () => {
    wakefulness.stoodStill = true;
    assert.match(String(await call("containerKill", request())), /^14 This process stood still/);
    wakefulness.stoodStill = false;
    assert.deepEqual(killed, []);
  });

  it("are not done for a leader whose time is over", async () => {
    await call("containerGetPid", request());
    assert.match(String(await call("containerKill", request({ leaderEpoch: 2 }))), /^9 Leader epoch 2 is over; 3 was seen/);
    assert.deepEqual(killed, []);
  });

  it("tell what the runtime says: that it is away, that the container is another pod's", async () => {
    failure = new RuntimeError("unavailable", "No container runtime answers.");
    assert.equal(await call("containerKill", request()), `${status.UNAVAILABLE} No container runtime answers.`);
    failure = new RuntimeError("wrong-target", "1 is container web of pod b.");
    assert.equal(await call("containerKill", request()), `${status.FAILED_PRECONDITION} 1 is container web of pod b.`);
  });
});
