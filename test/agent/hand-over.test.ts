import assert from "node:assert/strict";
import { descriptorsWith, HandOverError, MOST_VOLUMES, parseDaemonLine, parseSidecarLine, renderLine } from "../../agent/hand-over.ts";

const podUid = "077a230c-5c1d-4e26-9966-86a7bc733b71";

describe("the conversation about volumes", () => {
  it("reads what it writes", () => {
    const hello = {
      say: "hello",
      podUid,
      volumes: [
        { name: "data", source: "emptyDir" },
        { name: "cache", source: "claim" },
        { name: "wal", source: "claim", persistentVolume: "pvc-1.ssd" },
      ],
      held: [{ name: "data", init: undefined }],
    } as const;
    const line = renderLine(hello);
    const text = `{"hello":{"podUid":"${podUid}","volumes":[{"name":"data","source":"emptyDir"},{"name":"cache","source":"claim"},{"name":"wal","source":"claim","persistentVolume":"pvc-1.ssd"}],"held":[{"name":"data","init":null}]}}\n`;
    assert.equal(line, text);
    assert.deepEqual(parseSidecarLine(line), hello);
    assert.equal(descriptorsWith(hello), 3);
    const serving = { say: "serving", name: "data", init: "AAE=" } as const;
    assert.deepEqual(parseSidecarLine(renderLine(serving)), serving);
    for (const said of [
      { say: "hand", name: "data", init: "AAE=" },
      { say: "hand", name: "data", init: undefined },
      { say: "refuse", name: "data", reason: "VolumeNotFound", message: "There is none." },
    ] as const)
      assert.deepEqual(parseDaemonLine(renderLine(said)), said);
  });

  it("refuses whatever else a sidecar may say", () => {
    const hello = (more: object): string => JSON.stringify({ hello: { podUid, volumes: [], held: [], ...more } });
    const volume = { name: "data", source: "emptyDir" };
    const bad: readonly string[] = [
      "",
      "null",
      "[]",
      "{}",
      "{",
      hello({ podUid: "../../etc" }),
      hello({ podUid: `${podUid}/` }),
      hello({ volumes: [{ name: "../data", source: "emptyDir" }] }),
      hello({ volumes: [{ name: ".", source: "emptyDir" }] }),
      hello({ volumes: [{ name: "a".repeat(64), source: "emptyDir" }] }),
      hello({ volumes: [{ name: "data", source: "hostPath" }] }),
      hello({ volumes: [volume, volume] }),
      ...["", ".", "..", "../pv", "a/b", "a..b", "-a", "a-", "A", "a".repeat(254), 1, null].map((persistentVolume) =>
        hello({ volumes: [{ name: "data", source: "claim", persistentVolume }] }),
      ),
      hello({ volumes: Array.from({ length: MOST_VOLUMES + 1 }, (_, index) => ({ ...volume, name: `v${index}` })) }),
      hello({ held: [{ name: "data", init: null }] }),
      hello({ volumes: [volume], held: [{ name: "data", init: "no base64" }] }),
      hello({
        volumes: [volume],
        held: [
          { name: "data", init: null },
          { name: "data", init: null },
        ],
      }),
      hello({ more: 1 }),
      JSON.stringify({ serving: { name: "data" } }),
      JSON.stringify({ hand: { name: "data", init: null } }),
    ];
    for (const line of bad) assert.throws(() => parseSidecarLine(line), HandOverError, line);
  });

  it("tells no more than the beginning of a line that it refuses", () => {
    assert.throws(
      () => parseDaemonLine("x".repeat(60_000)),
      (error: Error) => error.message.length < 400,
    );
  });
});
