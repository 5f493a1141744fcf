import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLog } from "../../../common/log.ts";
import type { ServedVolume } from "../../../common/sidecar-layout.ts";
import type { IoFault } from "../../../proto/gen/faults.ts";
import { type OpenedKeeper, openKeeper } from "../../../sidecar/files/open-keeper.ts";
import { FakeClock } from "../../support/fake-clock.ts";

const failing: IoFault = {
  volume: "data",
  mountPath: "/data",
  subPath: "",
  path: "",
  methods: ["open"],
  percent: 100,
  effect: { $case: "error", value: { errno: 5 } },
};
const several: readonly ServedVolume[] = [
  { name: "data", source: "claim", isOneOfSeveral: true },
  { name: "wal", source: "claim", isOneOfSeveral: true },
  { name: "cache", source: "emptyDir" },
];

describe("the keeper of a pod's volumes", () => {
  let folder: string;
  const opened: OpenedKeeper[] = [];
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "squall-keeper-"));
  });
  afterEach(async () => {
    for (const { servers } of opened.splice(0)) await servers.close();
    await rm(folder, { recursive: true });
  });

  const open = async (volumes: readonly ServedVolume[]): Promise<OpenedKeeper> => {
    const one = await openKeeper(volumes, {
      main: "sidecar.mjs",
      environment: {},
      podUid: "u1",
      socketPath: join(folder, "files.sock"),
      namesPath: join(folder, "names.json"),
      clock: new FakeClock(),
      log: silentLog,
    });
    opened.push(one);
    return one;
  };
  const isListening = (): boolean => existsSync(join(folder, "files.sock"));
  const stateOf = ({ servers }: OpenedKeeper, name: string) => servers.state().get(name);

  it("listens for the daemon at once where the pod has one claim", async () => {
    const keeper = await open([
      { name: "data", source: "claim" },
      { name: "cache", source: "emptyDir" },
    ]);
    assert.equal(keeper.naming, undefined);
    assert.ok(isListening());
    assert.deepEqual(stateOf(keeper, "data"), { is: "waiting" });
  });

  it("waits with all of them until the names of several claims are known, and says for what", async () => {
    const keeper = await open(several);
    assert.deepEqual(keeper.naming?.volumes, ["data", "wal"]);
    assert.equal(isListening(), false);
    assert.match(JSON.stringify(stateOf(keeper, "data")), /"waiting".*The controller has not told/);
    await assert.rejects(keeper.servers.rule("data", [{ id: "one", io: failing, remainingMs: 1000 }]), /Does squall-controller run\?/);
    let changes = 0;
    keeper.servers.onChange(() => {
      changes += 1;
    });
    await keeper.naming?.tell({ data: "pv-1", wal: "pv-2" });
    assert.ok(isListening());
    assert.equal(changes, 1);
    assert.deepEqual(stateOf(keeper, "data"), { is: "waiting" });
  });

  it("refuses one whose name nobody knows, and what to do is said", async () => {
    const keeper = await open(several);
    await keeper.naming?.tell({ data: "pv-1" });
    const state = stateOf(keeper, "wal");
    assert.equal(state?.is === "refused" && state.reason, "PersistentVolumeUnknown");
    assert.match(state?.is === "refused" ? state.message : "", /apply manifests\/controller\.yaml/);
    assert.deepEqual([stateOf(keeper, "data")?.is, stateOf(keeper, "cache")?.is], ["waiting", "waiting"]);
  });

  it("needs nobody in its next life", async () => {
    const before = await open(several);
    await before.naming?.tell({ data: "pv-1" });
    await before.servers.close();
    const keeper = await open(several);
    assert.equal(keeper.naming, undefined);
    assert.ok(isListening());
    assert.deepEqual([stateOf(keeper, "data")?.is, stateOf(keeper, "wal")?.is], ["waiting", "refused"]);
  });

  it("serves what it is told, also where that cannot be written down", async () => {
    await mkdir(join(folder, "names.json.new"));
    const keeper = await open(several);
    await keeper.naming?.tell({ data: "pv-1", wal: "pv-2" });
    assert.ok(isListening());
    assert.notEqual((await open(several)).naming, undefined);
  });
});
