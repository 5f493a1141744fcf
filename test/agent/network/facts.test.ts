import assert from "node:assert/strict";
import { passportOf, readPodFacts } from "../../../agent/network/facts.ts";
import { type Programs, CommandError } from "../../../agent/programs.ts";

interface Kernel {
  /** Beginnings of commands that fail, with what they say. */
  readonly fails?: Readonly<Record<string, string>>;
  /** Beginnings of commands that print something. */
  readonly prints?: Readonly<Record<string, string>>;
  readonly lacks?: readonly string[];
}

const links = JSON.stringify([
  { ifname: "lo", flags: ["LOOPBACK", "UP"] },
  { ifname: "eth0", flags: ["UP"] },
]);

/** Programs of a made-up kernel, and what was left running by them. */
function programsOf({ fails = {}, prints = {}, lacks = [] }: Kernel): { readonly programs: Programs; readonly made: Set<string> } {
  const made = new Set<string>();
  const startingWith = (table: Readonly<Record<string, string>>, text: string): string | undefined =>
    Object.entries(table).find(([start]) => text.startsWith(start))?.[1];
  const programs: Programs = {
    has: (name) => !lacks.includes(name),
    startAhead: () => assert.fail("facts are not in a hurry"),
    run(command) {
      const text = command.argv.join(" ");
      const said = startingWith(fails, text) ?? startingWith(fails, `${text} ${command.stdin ?? ""}`);
      if (said !== undefined) return Promise.reject(new CommandError(command, "exited with 1", said));
      const refuse = (why: string): Promise<never> => Promise.reject(new CommandError(command, "exited with 2", why));
      for (const line of (command.stdin ?? "").split("\n")) {
        const [, what = "", how = "", rest = ""] = /^(\w+) (add|del) (.*?)(?: netem| type ifb)?$/.exec(line) ?? [];
        const name = `${what} ${rest}`;
        if (how === "add" && made.has(name)) return refuse("RTNETLINK answers: File exists");
        if (how === "add") made.add(name);
        if (how === "del" && !made.delete(name)) return refuse("Cannot find device");
      }
      for (const [, name] of (command.stdin ?? "").matchAll(/^:(\S+)/gm)) made.add(`chain ${name}`);
      const chains = [...(command.stdin ?? "").matchAll(/^-X (\S+)/gm)].map(([, name]) => `chain ${name}`);
      if ([...new Set(chains)].some((name) => !made.delete(name))) return refuse("No chain/target/match by that name.");
      return Promise.resolve({
        stdout: startingWith({ "ip -j -batch": links, ...prints }, text) ?? startingWith(prints, `${text} ${command.stdin ?? ""}`) ?? "",
        stderr: "",
      });
    },
  };
  return { programs, made };
}

const known = { hostIps: ["10.0.0.1"], podIps: ["10.244.0.7"], probePorts: [9000, 8080, 9000], agentPort: 9445 };

describe("readPodFacts", () => {
  it("finds everything on a kernel that has everything, and leaves nothing of its tries", async () => {
    const { programs, made } = programsOf({ prints: { "ip -j -batch": `${links}\n[{"gateway":"10.244.0.1"}]\n` } });
    assert.deepEqual(await readPodFacts(programs, known), {
      iptables: "nft",
      families: ["ipv4"],
      devices: ["eth0"],
      noNetem: undefined,
      noNfqueue: undefined,
      foreignQdiscs: [],
      probeSources: ["10.0.0.1", "10.244.0.1"],
      probePorts: [8080, 9000],
      agentPort: 9445,
      hasIfb: true,
      hasMeshRedirect: false,
      hasBpf: false,
    });
    assert.deepEqual([...made], []);
  });

  it("is not misled by what an earlier life left when it was cut off in the middle of a try, and takes that back", async () => {
    const { programs, made } = programsOf({});
    const clean = await readPodFacts(programs, known);
    for (const left of ["qdisc dev lo root handle c4a0:", "link squall-ifb", "chain squall-try"]) made.add(left);
    assert.deepEqual(await readPodFacts(programs, known), clean);
    assert.deepEqual([...made], []);
  });

  it("takes legacy where nft can make no chain, and throws where neither can, with what both said", async () => {
    const nft = { "iptables-nft-restore": "TABLE_ADD failed (Operation not supported)" };
    assert.equal((await readPodFacts(programsOf({ fails: nft }).programs, known)).iptables, "legacy");
    const neither = programsOf({ fails: { ...nft, "iptables-legacy-restore": "Permission denied" } });
    await assert.rejects(
      readPodFacts(neither.programs, known),
      /No iptables works here\. .*Operation not supported.*; .*Permission denied/,
    );
  });

  it("says why an engine cannot be used", async () => {
    const { programs } = programsOf({
      fails: {
        "tc -batch - qdisc add dev lo root handle c4a0: netem": "Error: Specified qdisc kind is unknown.\nCommand failed -:1",
        "iptables-nft-restore --noflush *filter\n:squall-try - [0:0]\n-A squall-try -j RETURN\nCOMMIT\n*mangle\n:squall-try - [0:0]\n-A squall-try -j NFQUEUE":
          "No such target",
      },
    });
    const passport = passportOf(await readPodFacts(programs, known));
    assert.deepEqual(passport.engines, []);
    assert.deepEqual(
      passport.missing.map((text) => text.replace(/: .*: /, ": ")),
      ["netem: Error: Specified qdisc kind is unknown.", "nfqueue: No such target."].map((text) => text.replace("Error: ", "")),
    );
  });

  it("leaves IPv6 out where the pod has none or its rules cannot be written, and takes both where nothing is known", async () => {
    const familiesOf = async (podIps: readonly string[], lacks: readonly string[] = []) =>
      (await readPodFacts(programsOf({ lacks }).programs, { ...known, podIps })).families;
    assert.deepEqual(await familiesOf(["10.244.0.7", "fd00::7"]), ["ipv4", "ipv6"]);
    assert.deepEqual(await familiesOf(["fd00::7"]), ["ipv6"]);
    assert.deepEqual(await familiesOf(["10.244.0.7", "fd00::7"], ["ip6tables-nft-restore"]), ["ipv4"]);
    assert.deepEqual(await familiesOf([]), ["ipv4", "ipv6"]);
  });

  it("sees foreign disciplines, eBPF and a mesh", async () => {
    const facts = await readPodFacts(
      programsOf({
        prints: {
          "tc -j qdisc": '[{"kind":"tbf","handle":"1:","dev":"eth0","root":true},{"kind":"noqueue","handle":"0:","dev":"lo","root":true}]',
          "tc -batch - filter show dev eth0 ingress": "filter protocol all pref 1 bpf chain 0 handle 0x1 cil_from_container",
          "iptables-nft-save": "*nat\n:ISTIO_OUTPUT - [0:0]\nCOMMIT\n",
        },
      }).programs,
      known,
    );
    assert.deepEqual([facts.foreignQdiscs, facts.hasBpf, facts.hasMeshRedirect], [["eth0"], true, true]);
  });
});
