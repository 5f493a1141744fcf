import assert from "node:assert/strict";
import fc from "fast-check";
import { encode } from "dns-packet";
import { readAnswer } from "../../../agent/network/dns-watch.ts";
import { followHostNames, type HostNames } from "../../../agent/network/host-names.ts";
import { silentLog } from "../../../common/log.ts";
import { FakeClock, settle } from "../../support/fake-clock.ts";

describe("followHostNames", () => {
  let clock: FakeClock;
  let zone: Map<string, { readonly addresses: readonly string[]; readonly ttlSeconds: number }>;
  let asked: string[];
  let names: HostNames;
  let changes: number;

  beforeEach(() => {
    clock = new FakeClock();
    zone = new Map([["db.example", { addresses: ["192.0.2.1"], ttlSeconds: 30 }]]);
    asked = [];
    changes = 0;
    const lookup = (name: string) => {
      asked.push(name);
      const found = zone.get(name);
      return found ? Promise.resolve(found) : Promise.reject(new Error("ENOTFOUND"));
    };
    names = followHostNames({ clock, log: silentLog, lookup });
    names.onChange(() => (changes += 1));
  });
  afterEach(() => names.close());

  it("has an answer at once, in lower case, and asks again when its time is over", async () => {
    await names.follow(["DB.example"]);
    assert.deepEqual([...names.resolved], [["db.example", ["192.0.2.1"]]]);
    await clock.advance(29_000);
    assert.equal(asked.length, 1);
    await clock.advance(1_000);
    assert.equal(asked.length, 2);
    assert.equal(changes, 1);
  });

  it("takes new addresses on and forgets an old one when it was not seen for twice its time", async () => {
    await names.follow(["db.example"]);
    zone.set("db.example", { addresses: ["192.0.2.2"], ttlSeconds: 30 });
    await clock.advance(30_000);
    assert.deepEqual(names.resolved.get("db.example"), ["192.0.2.1", "192.0.2.2"]);
    await clock.advance(30_000);
    assert.deepEqual(names.resolved.get("db.example"), ["192.0.2.2"]);
  });

  it("has an address once, however those who tell of it spell it", async () => {
    zone.set("db.example", { addresses: ["fd5c:0:0:96::fc6d"], ttlSeconds: 30 });
    await names.follow(["db.example"]);
    names.learn("db.example", ["fd5c::96:0:0:0:fc6d", "FD5C:0:0:96::FC6D"], 30);
    assert.deepEqual(names.resolved.get("db.example"), ["fd5c:0:0:96::fc6d"]);
    assert.equal(changes, 1);
  });

  it("keeps what it had while a name cannot be resolved, and goes on asking", async () => {
    await names.follow(["db.example", "nobody.example"]);
    assert.equal(names.resolved.has("nobody.example"), false);
    zone.delete("db.example");
    await clock.advance(120_000);
    assert.deepEqual(names.resolved.get("db.example"), ["192.0.2.1"]);
    zone.set("nobody.example", { addresses: ["192.0.2.9"], ttlSeconds: 1 });
    await clock.advance(2_000);
    assert.deepEqual(names.resolved.get("nobody.example"), ["192.0.2.9"]);
  });

  it("waits two seconds for a resolver that does not answer, not longer", async () => {
    const stuck = followHostNames({ clock, log: silentLog, lookup: () => Promise.race([]) });
    let isDone = false;
    void stuck.follow(["db.example"]).then(() => (isDone = true));
    await clock.advance(1_999);
    assert.equal(isDone, false);
    await clock.advance(1);
    assert.equal(isDone, true);
    stuck.close();
  });

  it("learns what the pod is told of names that it follows, and of no others", async () => {
    await names.follow(["db.example"]);
    names.learn("db.example", ["192.0.2.7"], 5);
    names.learn("other.example", ["192.0.2.8"], 5);
    assert.deepEqual([...names.resolved], [["db.example", ["192.0.2.1", "192.0.2.7"]]]);
    assert.equal(changes, 2);
  });

  it("forgets names that nobody wants, and leaves no timer when closed", async () => {
    await names.follow(["db.example"]);
    await names.follow([]);
    assert.equal(names.resolved.size, 0);
    await names.follow(["db.example"]);
    names.close();
    await settle();
    assert.equal(clock.waiting, 0);
  });
});

describe("readAnswer", () => {
  const packet = (message: Buffer): Buffer => Buffer.concat([Buffer.from([0x45, ...new Array<number>(27).fill(0)]), message]);
  const read = (bytes: Buffer): readonly (readonly [string, readonly string[], number])[] => {
    const found: [string, readonly string[], number][] = [];
    readAnswer(bytes, (...answer) => found.push(answer));
    return found;
  };

  it("gives the name that was asked for all addresses at the end of its aliases", () => {
    const message = encode({
      type: "response",
      questions: [{ type: "A", name: "WWW.example" }],
      answers: [
        { type: "CNAME", name: "www.example", ttl: 300, data: "edge.example" },
        { type: "A", name: "edge.example", ttl: 20, data: "192.0.2.1" },
        { type: "AAAA", name: "edge.example", ttl: 60, data: "2001:db8::1" },
      ],
    });
    assert.deepEqual(read(packet(message)), [["www.example", ["192.0.2.1", "2001:db8::1"], 20]]);
  });

  it("leaves questions, answers without addresses and anything malformed out", () => {
    assert.deepEqual(read(packet(encode({ type: "query", questions: [{ type: "A", name: "a.example" }] }))), []);
    assert.deepEqual(read(packet(encode({ type: "response", questions: [{ type: "A", name: "a.example" }], answers: [] }))), []);
    fc.assert(fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => void read(packet(Buffer.from(bytes)))));
    fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => void read(Buffer.from(bytes))));
  });
});
