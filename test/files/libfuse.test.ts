import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { IoMistake_Filling } from "../../proto/gen/faults.ts";
import { LibfuseVolume } from "./support/libfuse-volume.ts";
import { Program, run } from "./support/program.ts";
import { runToEnd } from "./support/run-to-end.ts";

/** As containers have it with mountPropagation HostToContainer. The script must have no double quotes. */
const inContainer = (script: string): string => `exec unshare --mount --propagation slave bash -c "${script.replaceAll("$", "\\$")}" 2>&1`;

const skips = process.arch !== "x64";
(skips ? describe.skip : describe)("a volume behind libfuse", () => {
  let volume: LibfuseVolume;

  beforeEach(async () => {
    volume = await LibfuseVolume.open();
  });

  afterEach(async () => {
    await volume.close();
  });

  const says = async (script: string): Promise<string> => (await run(volume, script)).text;
  const python = (script: string): Promise<string> => says(`python3 - <<'END'\nimport os, mmap\n${script}\nEND`);

  it("does what the plain folder does: files, folders, links, modes, devices", async () => {
    assert.equal(
      await says("echo hello > a; mkdir -p d/e; ln a d/b; ln -s a l; readlink l; stat -c '%h %s %a' a; cat d/b"),
      "a\n2 6 644\nhello",
    );
    assert.equal(await says("mv a d/c; rm d/b; cat d/c; rmdir d/e; ls d; truncate -s 3 d/c; cat d/c"), "hello\nc\nhel");
    assert.equal(
      await says("chmod 4755 d/c; stat -c %a d/c; mkfifo p; mknod n b 1 2; stat -c '%F %t %T' n"),
      "4755\nblock special file 1 2",
    );
    assert.equal(await says("stat -c %i d/c"), await says(`stat -c %i ${volume.plain}/d/c`));
    assert.match(await says("ls nothing; mkdir x; touch x/y; rmdir x"), /No such file[^]*not empty/);
  });

  it("gives what is made to whoever makes it, whatever group, umask and set-group-ID say", async () => {
    const others = "setpriv --reuid 1234 --regid 4321 --clear-groups";
    await says("mkdir -m 777 d; mkdir d/s; chgrp 77 d/s; chmod 2777 d/s; echo x > c; chmod 6777 c");
    assert.match(await says(`${others} bash -c 'echo x > z'`), /Permission denied/);
    assert.equal(
      await says(`${others} bash -c 'umask 027; echo x > d/z; mkfifo d/p; ln -s x d/l'; stat -c '%u:%g %a' d/z d/p`),
      "1234:4321 640\n1234:4321 640",
    );
    assert.equal(await says("stat -c %u:%g d/l"), "1234:4321");
    assert.equal(await says(`${others} mkdir d/s/g; stat -c '%u:%g %a' d/s/g`), "1234:77 2755");
    assert.equal(await says(`${others} bash -c 'echo -n x >> c'; stat -c %a c`), "777");
  });

  it("lets programs have their owner's rights, and devices be opened, as the plain folder does", async () => {
    await says("cp $(command -v id) id; chown 1234 id; chmod 4755 id; mknod null c 1 3; chmod 666 null");
    assert.equal(await says("setpriv --reuid 77 --regid 77 --clear-groups ./id -u; echo x > null && echo written"), "1234\nwritten");
  });

  it("gives each of many at once what is theirs, while threads of libfuse come and go", async () => {
    // libfuse has a thread for each that waits, and ends most of them when nobody does.
    await volume.rule({ slow: { methods: ["lookup"], effect: { $case: "latency", value: { delayUs: 30_000 } } } });
    const script =
      "for i in 1 2 3 4 5 6; do for u in $(seq 100 139); do setpriv --reuid $u --regid $u --clear-groups bash -c 'mkdir f-$UID-$0' $i & done; wait; done";
    await says(`chmod 777 .; ${script}`);
    await volume.rule({});
    assert.equal(await says("ls | wc -l; for f in f-*; do [ f-$(stat -c %u $f)-${f##*-} = $f ] || echo $f; done"), "240");
  });

  it("keeps times to the nanosecond, and changes one of them alone", async () => {
    await says("echo > a; touch -d '2001-02-03 04:05:06.123456789Z' a; touch -m -d '2011-02-03 04:05:06.987654321Z' a");
    assert.equal(await says("TZ=UTC stat -c '%x %y' a"), "2001-02-03 04:05:06.123456789 +0000 2011-02-03 04:05:06.987654321 +0000");
    assert.equal(
      await python("os.utime('a', ns=(-1500000001, 5000000000123456789)); s = os.stat('a'); print(s.st_atime_ns, s.st_mtime_ns)"),
      "-1500000001 5000000000123456789",
    );
    assert.equal(await says("touch -a a; TZ=UTC stat -c %Y a"), "5000000000");
  });

  it("keeps a file that was removed or replaced while it is open, and leaves nothing of it behind", async () => {
    assert.equal(await says("mkdir d; echo abc > d/u; exec 5<d/u; rm d/u; cat <&5; rmdir d; ls"), "abc");
    assert.equal(await says("echo old > f; echo new > g; exec 5<f; mv g f; cat <&5; cat f; ls -A; ls -A ../plain"), "old\nnew\nf\nf");
    assert.equal(
      await python(
        "f = open('t', 'w+b'); f.write(b'z' * 300000); f.flush(); os.unlink('t'); os.fsync(f.fileno()); os.ftruncate(f.fileno(), 7)\nf.seek(0); print(f.read(), os.fstat(f.fileno()).st_nlink, os.listdir('.'))",
      ),
      "b'zzzzzzz' 0 ['f']",
    );
  });

  it("gives names, data and extended attributes back byte by byte", async () => {
    assert.equal(
      await says(String.raw`touch $'\xff\xfe'; ls -b; touch ä; ls ä; ln -s $'\xfd' l; rm $'\xff\xfe' ä; ls; readlink l | od -An -tx1`),
      "\\377\\376\nä\nl\n fd 0a",
    );
    assert.equal(await says("head -c 5000000 /dev/urandom > r; cp r s; cmp r s && sync s && stat -c %s s; cmp s ../plain/r"), "5000000");
    assert.equal(
      await python(
        "os.setxattr('r', 'user.a', b'x\\xff\\0'); os.setxattr('r', 'user.b', b''); print(os.getxattr('r', 'user.a'), os.getxattr('r', 'user.b'), sorted(os.listxattr('r')))\nos.removexattr('r', 'user.a'); print(os.listxattr('r'))",
      ),
      "b'x\\xff\\x00' b'' ['user.a', 'user.b']\n['user.b']",
    );
  });

  it("maps files into memory, shared as well, and lets them be locked", async () => {
    assert.equal(
      await python(
        "f = open('m', 'w+b'); f.truncate(8192); m = mmap.mmap(f.fileno(), 8192); m[5000:5003] = b'abc'; m.flush(); m.close(); print(open('../plain/m', 'rb').read()[5000:5003])",
      ),
      "b'abc'",
    );
    assert.equal(await says("touch k; flock k flock -n k true || echo taken"), "taken");
  });

  it("lists 20,000 files and tells the room there is", async () => {
    await says("cd ../plain; mkdir many; cd many; seq 20000 | xargs touch");
    assert.equal(await says("ls many | wc -l; find many -type f | wc -l"), "20000\n20000");
    assert.equal(await says("stat -f -c '%b %c %l' ."), await says("stat -f -c '%b %c %l' ../plain"));
  });

  it("delays, and lets go at once what is held when the fault ends or its time is over", async () => {
    await writeFile(join(volume.plain, "f"), "data");
    await volume.rule({ slow: { methods: ["read"], effect: { $case: "latency", value: { delayUs: 1_000_000 } } } });
    // One after the other, as each waits for the same page.
    const slow = await run(volume, "cat f & cat f & cat f & wait");
    assert.equal(slow.text, "datadatadata");
    assert.ok(slow.ms >= 1_000 && slow.ms < 15_000, `took ${slow.ms} ms`);
    assert.ok((await run(volume, "stat f")).ms < 1_000);

    await volume.rule({ slow: { methods: ["open"], effect: { $case: "latency", value: { delayUs: 30_000_000 } } } });
    const held = run(volume, "cat f");
    await new Promise((resolve) => setTimeout(resolve, 300));
    await volume.rule({});
    assert.equal((await held).text, "data");
    assert.ok((await held).ms < 3_000);

    await volume.rule({ slow: { methods: ["open"], effect: { $case: "latency", value: { delayUs: 30_000_000 } } } }, 700);
    const { ms } = await run(volume, "cat f");
    assert.ok(ms >= 400 && ms < 5_000, `took ${ms} ms`);
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

  const fails = (methods: readonly string[], errno = 28) =>
    volume.rule({ bad: { methods: [...methods], effect: { $case: "error", value: { errno } } } });

  for (const [method, script] of [
    ["lookup", "stat f"],
    ["setattr", "chmod 700 f"],
    ["setattr", "touch -m f"],
    ["unlink", "rm -f f"],
    ["rename", "mv f g"],
    ["create", "echo > n"],
    ["mkdir", "mkdir n"],
    ["rmdir", "rmdir d"],
    ["mknod", "mkfifo n"],
    ["mknod", "python3 -c 'import os; os.mknod(\"n\", 0o600)'"],
    ["link", "ln f n"],
    ["symlink", "ln -s f n"],
    ["readlink", "readlink -v l"],
    ["opendir", "ls d"],
    ["readdir", "ls d"],
    ["open", "cat f"],
    ["write", "exec 5<>f; echo >&5"],
    ["fsync", "sync f"],
    ["statfs", "df ."],
    ["getxattr", 'python3 -c \'import os; os.getxattr("f", "user.a")\''],
    ["setxattr", 'python3 -c \'import os; os.setxattr("f", "user.a", b"")\''],
    ["listxattr", "python3 -c 'import os; os.listxattr(\"f\")'"],
  ] as const)
    it(`fails ${method} alone: ${script}`, async () => {
      await says("echo data > f; mkdir d; ln -s f l");
      await fails([method]);
      assert.match(await says(script), /No space left/);
      assert.ok(((await volume.count())[0]?.methods.find((one) => one.method === method)?.failed ?? 0) >= 1);
      await volume.rule({});
      assert.equal(await says("cat f; ls"), "data\nd\nf\nl");
    });

  it("fails the renaming over an open file without losing either", async () => {
    const program = new Program(
      volume,
      "echo old > f; echo new > g; exec 5<f; echo; read x; mv g f 2> /dev/null || echo failed; read x; cat f; read x; mv g f; cat f",
    );
    await program.hear();
    await fails(["rename"]);
    assert.equal(await program.goOn(), "failed");
    assert.equal(await program.goOn(), "old");
    await volume.rule({});
    assert.equal(await program.goOn(), "new");
    program.end();
  });

  it("reports other attributes, and the truth afterwards", async () => {
    await says("echo hello > f; mkdir d");
    const value = { ino: 77_000_000_077, size: 77, perm: 0o123, nlink: 9, uid: 5, gid: 6, mtime: { seconds: 1_000, nanos: 5 } };
    await volume.rule({ other: { path: "/data/f", effect: { $case: "attributes", value } } });
    assert.equal(await says("stat -c '%s %a %h %u %g %Y' f; stat -c %a d"), "77 123 9 5 6 1000\n755");
    await volume.rule({});
    assert.equal(await says("stat -c '%s %a %h %u %g' f; cat f"), "6 644 1 0 0\nhello");
  });

  it("puts mistakes into what is read, and leaves none of them in files that stay open", async () => {
    await says("head -c 4096 /dev/zero | tr '\\0' A > f; cat f > /dev/null");
    const program = new Program(
      volume,
      "exec 5<f; echo; read x; tr -d A < /proc/self/fd/5 | wc -c; read x; tr -d A < /proc/self/fd/5 | wc -c",
    );
    await program.hear();
    const value = { filling: IoMistake_Filling.ZERO, maxOccurrences: 1, maxLength: 10_000 };
    await volume.rule({ wrong: { path: "/data/*", methods: ["read"], effect: { $case: "mistake", value } } });
    assert.ok(Number(await program.goOn()) > 0);
    assert.equal(await says("wc -c < f"), "4096");
    await volume.rule({});
    assert.equal(await program.goOn(), "0");
    program.end();
    await volume.rule({ wrong: { methods: ["write"], effect: { $case: "mistake", value } } });
    await says("cp f g");
    await volume.rule({});
    assert.ok(Number(await says("tr -d A < g | wc -c")) > 0);
  });

  it("serves anew after a SIGKILL with the same faults, over the folder and not over the dead mount", async () => {
    await says("mkdir a; echo acknowledged > a/f");
    await volume.rule({ bad: { path: "/data/a/f", methods: ["open"], effect: { $case: "error", value: { errno: 5 } } } });
    await volume.killServer();
    assert.match(await says("ls a; cat a/f"), /^f\n.*Input\/output error/);
    await volume.rule({});
    assert.equal(await says("cat a/f"), "acknowledged");
  });

  it("serves anew when the kernel has ended the session", async () => {
    await says("echo acknowledged > f");
    const { pid } = volume;
    const lost = volume.untilLost();
    assert.equal((await runToEnd(["umount", "-f", volume.path])).exitCode, 0);
    await lost;
    await volume.untilServing();
    assert.notEqual(volume.pid, pid);
    assert.equal(await says("cat f; stat -f -c %T ."), "acknowledged\nfuseblk");
  });

  it("comes back after a SIGKILL in a container that was started before", async () => {
    await says("mkdir a; echo before > a/f");
    const script = `mkdir ../own; mount --bind ${volume.path} ../own; cd /; own=${volume.plain}/../own
      echo ready; read x; echo after > $own/a/g; cat $own/a/f $own/a/g | tr '\\n' ' '; echo`;
    const container = new Program(volume, inContainer(script), volume.plain);
    assert.equal(await container.hear(), "ready");
    for (let kills = 0; kills < 3; kills += 1) await volume.killServer();
    assert.equal(await container.goOn(), "before after ");
    container.end();
    assert.equal(await says("cat a/g"), "after");
  });

  it("gives no container a volume to write to that it has read-only, after a SIGKILL either", async () => {
    await volume.close();
    volume = await LibfuseVolume.open("/var/tmp", { hasReadOnlyMount: true });
    const script = `mkdir ../own; mount --bind ${volume.path} ../own; mount -o remount,bind,ro ../own; cd /; own=${volume.plain}/../own
      echo > $own/f; echo; read x; echo > $own/f`;
    const container = new Program(volume, inContainer(script), volume.plain);
    assert.match(await container.hear(), /Read-only file system/);
    assert.equal(await container.hear(), "");
    await volume.killServer();
    assert.match(await container.goOn(), /Transport endpoint is not connected|Read-only file system/);
    container.end();
    assert.equal(await says("echo fine > f; cat f"), "fine");
    assert.equal(volume.mounts.filter((name) => name.startsWith("squall-")).length, 1);
  });

  it("leaves the plain folder when the sidecar ends, also with a call that is held", async () => {
    await says("echo data > f");
    await volume.rule({ slow: { methods: ["open"], effect: { $case: "latency", value: { delayUs: 30_000_000 } } } });
    const held = run(volume, "cat f");
    await new Promise((resolve) => setTimeout(resolve, 300));
    await volume.stop();
    assert.ok((await held).ms < 3_000);
    assert.deepEqual(
      volume.mounts.filter((name) => name.startsWith("squall-")),
      [],
    );
    assert.equal(await says("cat f"), "data");
  });
});
