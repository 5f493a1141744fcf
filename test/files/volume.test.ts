import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { IoMistake_Filling } from "../../proto/gen/faults.ts";
import { Program, run } from "./support/program.ts";
import { Volume } from "./support/volume.ts";

describe("a volume behind FUSE", () => {
  let volume: Volume;

  beforeEach(async () => {
    volume = await Volume.open();
  });

  afterEach(async () => {
    await volume.close();
  });

  const says = async (script: string): Promise<string> => (await run(volume, script)).text;

  it("does what the plain folder does: files, folders, links, times, modes, owners, extended attributes", async () => {
    assert.equal(
      await says("echo hello > a; mkdir -p d/e; ln a d/b; ln -s a l; readlink l; stat -c '%h %s %a' a; cat d/b"),
      "a\n2 6 644\nhello",
    );
    assert.equal(await says("touch -d '2001-02-03 04:05:06.123456789Z' a; TZ=UTC stat -c %y a"), "2001-02-03 04:05:06.123456789 +0000");
    assert.equal(await says("mv a d/c; rm d/b; cat d/c; rmdir d/e; ls d; truncate -s 3 d/c; cat d/c"), "hello\nc\nhel");
    assert.equal(
      await says("chmod 4755 d/c; stat -c %a d/c; mkfifo p; mknod n b 1 2; stat -c '%F %t %T' n"),
      "4755\nblock special file 1 2",
    );
    const others = "setpriv --reuid 1234 --regid 4321 --clear-groups";
    assert.match(await says(`${others} bash -c 'echo x > d/z'`), /Permission denied/);
    assert.equal(await says(`chmod 777 d; ${others} bash -c 'umask 027; echo x > d/z'; stat -c '%u:%g %a' d/z`), "1234:4321 640");
    assert.equal(await says(`chgrp 77 d; chmod 2777 d; ${others} mkdir d/g; stat -c '%u:%g %a' d/g`), "1234:77 2755");
    assert.equal(await says(`chmod 6777 d/c; ${others} bash -c 'echo -n x >> d/c'; stat -c %a d/c`), "777");
  });

  it("keeps a file that was removed while it is open", async () => {
    assert.equal(await says("echo abc > u; exec 5<u; rm u; ls; cat <&5"), "abc");
    assert.equal(await says("echo old > f; echo new > g; exec 5<f; mv g f; cat <&5; cat f"), "old\nnew");
  });

  it("sees at the next open what was changed behind its back", async () => {
    await writeFile(join(volume.plain, "f"), "one");
    assert.equal(await says("cat f; sleep 1.1; cat f"), "oneone");
    await writeFile(join(volume.plain, "f"), "two"); // as long as before
    assert.equal(await says("cat f"), "two");
  });

  it("gives names and data back byte by byte", async () => {
    assert.equal(await says(String.raw`touch $'\xff\xfe'; ls -b; rm $'\xff\xfe'; ls`), String.raw`\377\376`);
    assert.equal(await says("head -c 5000000 /dev/urandom > r; cp r s; cmp r s && sync s && stat -c %s s"), "5000000");
  });

  it("delays, and lets go at once what is held when the fault ends", async () => {
    await writeFile(join(volume.plain, "f"), "data");
    await volume.rule({ slow: { methods: ["read"], effect: { $case: "latency", value: { delayUs: 300_000 } } } });
    const { text, ms } = await run(volume, "cat f");
    assert.equal(text, "data");
    assert.ok(ms >= 300, `took ${ms} ms`);
    assert.ok((await run(volume, "stat f")).ms < 300);

    await volume.rule({ slow: { methods: ["open"], effect: { $case: "latency", value: { delayUs: 30_000_000 } } } });
    const held = run(volume, "cat f");
    await new Promise((resolve) => setTimeout(resolve, 300));
    await volume.rule({});
    assert.equal((await held).text, "data");
    assert.ok((await held).ms < 3_000);
  });

  it("ends a fault by itself when its time is over", async () => {
    await writeFile(join(volume.plain, "f"), "data");
    await volume.rule({ slow: { methods: ["open"], effect: { $case: "latency", value: { delayUs: 30_000_000 } } } }, 700);
    const { text, ms } = await run(volume, "cat f");
    assert.equal(text, "data");
    assert.ok(ms >= 400 && ms < 5_000, `took ${ms} ms`);
    assert.ok((await run(volume, "cat f")).ms < 400);
  });

  it("lets a signal interrupt a call that is held", async () => {
    await writeFile(join(volume.plain, "f"), "data");
    await volume.rule({ slow: { methods: ["open"], effect: { $case: "latency", value: { delayUs: 30_000_000 } } } });
    const { ms } = await run(volume, "timeout -s KILL 0.5 cat f");
    assert.ok(ms < 3_000, `took ${ms} ms`);
  });

  it("goes on with a call that is held where a signal comes, and answers as a disk would", async () => {
    await writeFile(join(volume.plain, "f"), "data");
    await volume.rule({ slow: { methods: ["read"], effect: { $case: "latency", value: { delayUs: 15_000_000 } } } });
    const read = 'sysread(FILE, $text, 4) // print "failed: $!"; print $text';
    const { text, ms } = await run(volume, `perl -e '$SIG{ALRM} = sub {}; alarm 1; open(FILE, "<", "f"); ${read}'`);
    assert.equal(text, "data");
    assert.ok(ms < 10_000, `took ${ms} ms`);
  });

  it("fails operations of the methods and paths that are meant, also on files that were open before", async () => {
    await writeFile(join(volume.plain, "f"), "data");
    await writeFile(join(volume.plain, "g"), "data");
    const program = new Program(volume, "exec 5<f; head -c1 f; echo; read x; cat f > /dev/null || echo failed; read x; cat f");
    assert.equal(await program.hear(), "d");
    await volume.rule({ bad: { path: "/data/f", methods: ["read"], effect: { $case: "error", value: { errno: 5 } } } });
    assert.match(await program.goOn(), /failed/);
    assert.equal(await says("cat g"), "data");
    assert.match(await says("cat f"), /Input\/output error/);
    const [counts] = await volume.count();
    assert.ok((counts?.methods.find(({ method }) => method === "read")?.failed ?? 0) >= 2);
    await volume.rule({});
    assert.equal(await program.goOn(), "data");
    program.end();
  });

  it("loses what was written to a memory map where the volume does not take it, and tells who syncs", async () => {
    await writeFile(join(volume.plain, "f"), "before");
    const script = [
      "import mmap, os",
      'fd = os.open("f", os.O_RDWR)',
      "map = mmap.mmap(fd, 6)",
      'map[:] = b"within"',
      'print("written"); input()',
      "try: os.fsync(fd)",
      "except OSError as error: print(error.strerror)",
      "print(map[:].decode())",
    ].join("\n");
    const program = new Program(volume, `exec python3 -u -c '${script}'`);
    assert.equal(await program.hear(), "written");
    await volume.rule({ bad: { methods: ["write"], effect: { $case: "error", value: { errno: 5 } } } });
    await volume.rule({});
    assert.equal(await program.goOn(), "Input/output error");
    assert.equal(await program.hear(), "before");
    program.end();
  });

  it("lets a memory map be shared of a file that is opened while a fault is in force", async () => {
    await writeFile(join(volume.plain, "f"), "before");
    await volume.rule({ slow: { methods: ["read", "write"], effect: { $case: "latency", value: { delayUs: 1_000 } } } });
    const map =
      'import mmap; file = open("f", "r+b"); map = mmap.mmap(file.fileno(), 6); print(map[:].decode()); map[:] = b"mapped"; map.flush()';
    assert.equal(await says(`python3 -c '${map}'; cat f`), "before\nmapped");
    assert.equal(await readFile(join(volume.plain, "f"), "utf8"), "mapped");
  });

  it("takes faults on while a file is open and nobody asks for anything", async () => {
    const program = new Program(volume, "exec 3> f; echo one >&3; echo open; read; echo two >&3; echo written; read");
    assert.equal(await program.hear(), "open");
    const startMs = performance.now();
    for (let round = 0; round < 50; round += 1) {
      await volume.rule({ fails: { methods: ["write"], effect: { $case: "error", value: { errno: 28 } } } });
      await volume.count();
      await volume.rule({});
    }
    assert.ok(performance.now() - startMs < 5_000);
    assert.equal(await program.goOn(), "written");
    assert.equal(await says("cat f"), "one\ntwo");
    program.end();
  });

  it("fails who looks for a name that was absent before the fault came", async () => {
    assert.match(await says("stat none; stat none"), /No such file.*\n.*No such file/);
    await volume.rule({ fails: { path: "/data/none", methods: ["lookup"], effect: { $case: "error", value: { errno: 5 } } } });
    assert.match(await says("stat none"), /Input\/output error/);
    await volume.rule({});
    assert.match(await says("stat none; echo here > none; cat none"), /No such file.*\nhere/);
  });

  it("reports other attributes, and the truth afterwards", async () => {
    await says("echo hello > f; mkdir d");
    const value = { size: 77, perm: 0o123, nlink: 9, uid: 5, gid: 6, mtime: { seconds: 1_000, nanos: 5 } };
    await volume.rule({ other: { path: "/data/f", effect: { $case: "attributes", value } } });
    assert.equal(await says("stat -c '%s %a %h %u %g %Y' f; stat -c %a d"), "77 123 9 5 6 1000\n755");
    await volume.rule({});
    assert.equal(await says("stat -c '%s %a %h %u %g' f; cat f"), "6 644 1 0 0\nhello");
  });

  it("reports another kind of file, and gives neither the file nor who has it open up for it", async () => {
    const program = new Program(
      volume,
      "echo hello > f; exec 5<f; stat -c %F f; read x; stat -c %F f; read x; stat -c %F f; cat <&5; cat f",
    );
    assert.equal(await program.hear(), "regular file");
    await volume.rule({ other: { path: "/data/f", effect: { $case: "attributes", value: { kind: 0o040000 } } } });
    assert.equal(await program.goOn(), "directory");
    assert.match(await says("cat f"), /directory/);
    await volume.rule({});
    assert.equal(await program.goOn(), "regular file");
    assert.deepEqual([await program.hear(), await program.hear()], ["hello", "hello"]);
    assert.equal(await says("stat -c %F .; cat f"), "directory\nhello");
    program.end();
  });

  it("lists a folder anew after it was rewound", async () => {
    const perl = 'opendir(D, "."); readdir D for 1..2; system("touch made"); rewinddir D; print join " ", sort grep {!/^\\./} readdir D';
    assert.equal(await says(`touch was; perl -e '${perl}'`), "made was");
  });

  it("gives the space of a removed file back, also of one that a new server came upon while it looked for another", async () => {
    const program = new Program(volume, "exec 5<>f; echo open; read x; echo x >&5; echo found");
    assert.equal(await program.hear(), "open");
    await writeFile(join(volume.plain, "big"), "never looked at");
    await volume.killServer();
    assert.equal(await program.goOn(), "found");
    await says("rm big; ls");
    const held = execFileSync("ls", ["-l", `/proc/${volume.pid}/fd`], { encoding: "utf8" });
    assert.doesNotMatch(held, /plain.*\(deleted\)/);
    program.end();
  });

  it("puts mistakes into what is read, and what is written wrong stays so", async () => {
    await says("head -c 4096 /dev/zero | tr '\\0' A > f; cat f > /dev/null");
    const value = { filling: IoMistake_Filling.ZERO, maxOccurrences: 1, maxLength: 10_000 };
    await volume.rule({ wrong: { path: "/data/*", methods: ["read"], effect: { $case: "mistake", value } } });
    assert.ok(Number(await says("tr -d A < f | wc -c")) > 0);
    assert.equal(await says("wc -c < f"), "4096");
    await volume.rule({});
    assert.equal(await says("tr -d A < f | wc -c"), "0");
    await volume.rule({ wrong: { methods: ["write"], effect: { $case: "mistake", value } } });
    await says("cp f g");
    await volume.rule({});
    assert.ok(Number(await says("tr -d A < g | wc -c")) > 0);
  });

  it("goes on with a new server after a SIGKILL, with files and folders that were open and a request in flight", async () => {
    await says("mkdir -p a/b; echo hello > a/b/f");
    const program = new Program(volume, "cd a/b; exec 5<>f; echo open; read x; echo HE >&5; cat f; read x; echo more >> f; tail -1 f");
    assert.equal(await program.hear(), "open");
    await volume.killServer();
    assert.equal(await program.goOn(), "HE");
    await volume.rule({ slow: { methods: ["write"], effect: { $case: "latency", value: { delayUs: 60_000_000 } } } });
    const inFlight = run(volume, "echo acknowledged > g; cat g; mkdir h; ls -d h");
    await new Promise((resolve) => setTimeout(resolve, 500));
    await volume.killServer(); // the next one holds it back, too
    await volume.rule({});
    assert.equal((await inFlight).text, "acknowledged\nh");
    assert.equal(await readFile(join(volume.plain, "g"), "utf8"), "acknowledged\n");
    program.end();
  });

  it("answers errors and goes on where a request of the kernel makes no sense to it", async () => {
    assert.match(await says("ls nothing"), /No such file/);
    assert.match(await says("mkdir d; rmdir d; mkdir d; touch d/x; rmdir d"), /not empty/);
    await says("rm -r d");
    assert.equal(
      await says("touch $(printf 'n%.0s' {1..255}); ls | head -c 3; touch $(printf 'n%.0s' {1..256}) 2>&1 | grep -o 'too long'"),
      "nnntoo long",
    );
  });
});
