import assert from "node:assert/strict";
import { type Log, silentLog } from "../../common/log.ts";
import { findPersistentVolumes } from "../../controller/claims.ts";
import { KubeError } from "../../kube/errors.ts";
import { enrollingPods, persistentVolumeClaims } from "../../kube/resources.ts";
import { FakeKube } from "../support/fake-kube.ts";

const ofClaim = (name: string, claimName: string): object => ({ name, persistentVolumeClaim: { claimName } });
const pod = enrollingPods.parse({
  metadata: { name: "cart", namespace: "shop", uid: "u1" },
  spec: {
    volumes: [
      ofClaim("data", "disk-a"),
      ofClaim("wal", "disk-b"),
      ofClaim("also", "disk-b"),
      ofClaim("unbound", "disk-c"),
      ofClaim("gone", "disk-d"),
      { name: "scratch", ephemeral: { volumeClaimTemplate: {} } },
      { name: "cache", emptyDir: {} },
    ],
  },
});

describe("persistent volumes of a pod", () => {
  let kube: FakeKube;
  let warnings: string[];
  const log: Log = { ...silentLog, warn: (_, message) => void warnings.push(message) };
  const find = (...volumes: readonly string[]): Promise<Record<string, string>> =>
    findPersistentVolumes(pod, volumes, { kube, log, signal: new AbortController().signal });
  const claim = (name: string, volumeName?: string, owner?: string): void =>
    void kube.seed(persistentVolumeClaims, {
      metadata: {
        namespace: "shop",
        name,
        ...(owner !== undefined && { ownerReferences: [{ kind: "Pod", name: "cart", uid: owner, controller: true }] }),
      },
      spec: { ...(volumeName !== undefined && { volumeName }) },
    });
  const asked = (): readonly unknown[] =>
    kube.requests.map(({ verb, plural, namespace, name }) => `${verb} ${plural} ${namespace}/${name}`);

  beforeEach(() => {
    kube = new FakeKube();
    warnings = [];
    claim("disk-a", "pv-a");
    claim("disk-b", "pv-b");
    claim("disk-c");
  });

  it("are those of its claims, each asked for once", async () => {
    assert.deepEqual(await find("data", "wal", "also"), { data: "pv-a", wal: "pv-b", also: "pv-b" });
    assert.deepEqual(asked(), ["get persistentvolumeclaims shop/disk-a", "get persistentvolumeclaims shop/disk-b"]);
  });

  it("are not asked for but of volumes that were named, are the pod's and are claims", async () => {
    assert.deepEqual(await find("cache", "disk-a", "other", "__proto__"), {});
    assert.deepEqual(asked(), []);
  });

  it("leave claims out that are unbound or gone", async () => {
    assert.deepEqual(await find("unbound", "gone", "data"), { data: "pv-a" });
    assert.deepEqual(warnings, []);
  });

  it("are those of a claim that was made for the pod, and not of another's of the same name", async () => {
    claim("cart-scratch", "pv-s", "u1");
    assert.deepEqual(await find("scratch"), { scratch: "pv-s" });
    claim("cart-scratch", "pv-s", "u2");
    assert.deepEqual(await find("scratch"), {});
    kube.remove(persistentVolumeClaims, { namespace: "shop", name: "cart-scratch" });
    claim("cart-scratch", "pv-s");
    assert.deepEqual(await find("scratch"), {});
  });

  it("are left out where the controller may not read claims, which it says", async () => {
    kube.fail({ verb: "get", plural: "persistentvolumeclaims", name: "disk-b", error: new KubeError("forbidden", "no") });
    assert.deepEqual(await find("data", "wal"), { data: "pv-a" });
    assert.deepEqual(warnings, ["the controller may not read claims; apply manifests/controller.yaml anew"]);
  });

  it("are unknown where the API server cannot be asked", async () => {
    kube.fail({ verb: "get", plural: "persistentvolumeclaims", name: "disk-b", error: new KubeError("unavailable", "down") });
    await assert.rejects(find("data", "wal"), /down/);
  });
});
