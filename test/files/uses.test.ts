import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { waitUntil } from "../../lab/wait-until.ts";
import { ensureFileProgram } from "./support/file-programs.ts";
import { type Ended, runToEnd } from "./support/run-to-end.ts";
import { openStage } from "./support/stage.ts";
import { describeTree } from "./support/tree.ts";
import { Volume } from "./support/volume.ts";

const ROOT = join(import.meta.dirname, "../..");
const NUMBER_OF_FILES = 100_000;

/** What one user does in a folder, and is told. Names of the user's own, so that users do not meet. */
const USER_SCRIPT = `
umask $1; me=$2
say() { "$@" 2>&1 | sed 's/ *([0-9]*)//'; echo "$* -> \${PIPESTATUS[0]}"; }
for folder in open sticky setgid closed foreign; do
  file=$folder/$me-file
  say touch $file; say mkdir $folder/$me-folder; say ln -s target $folder/$me-link; say mkfifo $folder/$me-pipe
  say chmod 6755 $file; say stat -c '%a %u %g' $file; echo more >> $file; say stat -c '%a %u %g %s' $file
  say ln $file $folder/$me-second; say mv $folder/$me-second $folder/$me-third; say chgrp 1234 $file; say chown 4321 $file
  say touch -d @1000000000.123456789 $file; say stat -c '%y' $file; say rm -f $folder/root-file; say cat $folder/secret
  say mknod $folder/$me-device c 1 3; say touch $folder/$me-folder/below; say stat -c '%g' $folder/$me-folder/below
done`;

const PREPARE_SCRIPT = `
for folder in open sticky setgid closed foreign; do mkdir $folder; touch $folder/root-file; echo hidden > $folder/secret; chmod 600 $folder/secret; done
chmod 777 open; chmod 1777 sticky; chmod 2777 setgid; chgrp 1234 setgid; chmod 755 closed; chown 1000:1000 foreign; chmod 770 foreign`;

interface User {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}
const users: readonly User[] = [
  { uid: 0, gid: 0, groups: [] },
  { uid: 1000, gid: 1000, groups: [] },
  { uid: 1000, gid: 100, groups: [1234] },
  { uid: 65_534, gid: 65_534, groups: [1000] },
  { uid: 2_000_000_000, gid: 2_000_000_001, groups: [1234, 1000] },
];

async function actAsUsers(folder: string): Promise<string> {
  const told = [await bash(folder, PREPARE_SCRIPT)];
  for (const { uid, gid, groups } of users)
    for (const umask of ["022", "077", "000"]) {
      const me = `${uid}-${gid}-${groups.length}-${umask}`;
      const identity = [`--reuid=${uid}`, `--regid=${gid}`, groups.length === 0 ? "--clear-groups" : `--groups=${groups.join(",")}`];
      told.push(await runToEnd(["setpriv", ...identity, "bash", "-c", USER_SCRIPT, "bash", umask, me], { cwd: folder, seconds: 60 }));
    }
  return told.map(({ output }) => output).join("\n");
}

const bash = (folder: string, script: string, seconds = 120): Promise<Ended> => runToEnd(["bash", "-c", script], { cwd: folder, seconds });

async function says(folder: string, script: string, seconds = 120): Promise<string> {
  const { exitCode, output } = await bash(folder, script, seconds);
  assert.equal(exitCode, 0, output);
  return output.trim();
}

describe("programs on a served volume", function () {
  this.timeout(300_000);
  let volume: Volume;

  beforeEach(async () => {
    volume = await Volume.open("/var/tmp");
  });
  afterEach(() => volume.close());

  it("lets every user do, and be refused, what the plain folder does", async () => {
    const plain = await openStage({ by: "nobody" }, "/var/tmp");
    try {
      const expected = await actAsUsers(plain.path);
      assert.match(expected, /Permission denied/);
      assert.equal(await actAsUsers(volume.path), expected);
      assert.deepEqual(describeTree(volume.path), describeTree(plain.path));
      assert.deepEqual(describeTree(volume.plain), describeTree(plain.path));
    } finally {
      await plain.close();
    }
  });

  (process.arch === "x64" ? it : it.skip)("lets every user do, and be refused, the same through libfuse", async () => {
    const plain = await openStage({ by: "nobody" }, "/var/tmp");
    const served = await openStage({ by: "libfuse" }, "/var/tmp");
    try {
      assert.equal(await actAsUsers(served.path), await actAsUsers(plain.path));
    } finally {
      await served.close();
      await plain.close();
    }
  });

  it("has a tree of 100,000 files made, listed, renamed and removed", async () => {
    const make = `for $d (1 .. 100) { mkdir "d$d"; for (1 .. ${NUMBER_OF_FILES / 100}) { open(F, ">", "d$d/f$_") or die $!; print F $_; close F } }`;
    await says(volume.path, `perl -e '${make}'`);
    assert.equal(await says(volume.path, "find . -type f -size -2 | wc -l"), String(NUMBER_OF_FILES));
    await says(volume.path, "mv d1 moved && cat moved/f1000 d2/f7");
    assert.equal(await says(volume.path, "ls -f d50 | wc -l"), String(NUMBER_OF_FILES / 100 + 2));
    const residentMb = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${volume.pid}/status`, "utf8"))?.[1]) / 1000;
    assert.ok(residentMb < 250, `The server takes ${residentMb} MB for the tree.`);
    await says(volume.path, 'rm -rf moved d*; test -z "$(ls -A)"');
  });

  it("has a repository cloned, checked and changed, with and without a delay", async () => {
    const git = "git -c user.name=Test -c user.email=test@example.com";
    await volume.rule({ slow: { percent: 1, effect: { $case: "latency", value: { delayUs: 2_000 } } } });
    await says(volume.path, `git clone --quiet --no-hardlinks ${ROOT} copy`);
    await volume.rule({});
    await says(volume.path, 'cd copy && git fsck --full && test -z "$(git status --porcelain)"');
    await says(
      volume.path,
      `cd copy && echo more >> README.md && ${git} commit --quiet --all --message=More && git gc --quiet && git fsck --full`,
    );
  });

  it("has packages installed by npm, as on the plain folder", async () => {
    const manifest = JSON.stringify({ dependencies: { mocha: "11.7.5", express: "5.2.1" } });
    const install =
      "npm install --ignore-scripts --no-audit --no-fund --silent && npm ls --all --parseable | sed -n 's/.*node_modules//p' | sort";
    const list = "cd node_modules && find . -not -name .package-lock.json -printf '%p %y %m %s %l\\n' | sort";
    const plain = await openStage({ by: "nobody" }, "/var/tmp");
    try {
      for (const folder of [plain.path, volume.path]) await writeFile(join(folder, "package.json"), manifest);
      assert.equal(await says(volume.path, install, 200), await says(plain.path, install, 200));
      assert.equal(await says(volume.path, list), await says(plain.path, list));
      assert.match(await says(volume.path, "node_modules/.bin/mocha --version"), /^11\./);
    } finally {
      await plain.close();
    }
  });

  it("has a program with machine code copied to it and run from it", async () => {
    await cp(join(ROOT, "node_modules/koffi"), join(volume.path, "node_modules/koffi"), { recursive: true });
    await cp(join(ROOT, "node_modules/@koromix"), join(volume.path, "node_modules/@koromix"), { recursive: true });
    await cp(process.execPath, join(volume.path, "node"));
    const script = 'process.stdout.write(String(require("koffi").load(null).func("int getpid()")() === process.pid))';
    assert.equal(await says(volume.path, `./node -e '${script}'`), "true");
  });

  it("keeps 1,000 files open, half of them without a name", async () => {
    const script = `
      for (1 .. 1000) { open($f[$_], "+>", "f$_") or die "open $_: $!"; syswrite($f[$_], "content $_") or die "write $_: $!" }
      for (1 .. 500) { unlink "f$_" or die "unlink $_: $!" }
      for (1 .. 1000) { sysseek($f[$_], 0, 0); sysread($f[$_], $x, 100); $x eq "content $_" or die "f$_ has $x" }
      print "fine"`;
    assert.equal(await says(volume.path, `ulimit -n 2048; perl -e '${script}'`), "fine");
    assert.equal(await says(volume.path, "ls | wc -l"), "500");
  });

  it("gives fsx nothing wrong while its server is killed again and again", async () => {
    const fsx = await ensureFileProgram("fsx");
    const running = runToEnd([fsx, "-N", "40000", "-S", "11", "-P", "/tmp", join(volume.path, "file")]);
    let kills = 0;
    while ((await Promise.race([running, sleep(300)])) === undefined) {
      await volume.killServer();
      kills += 1;
    }
    const { exitCode, output } = await running;
    assert.equal(exitCode, 0, output.slice(-1_000));
    assert.ok(kills >= 3, `It ended after ${kills} kills of the server.`);
  });

  it("has every line that was acknowledged in the file, whatever was killed meanwhile", async () => {
    // Each line is on the disk before it is told.
    const script = `
      use IO::Handle; open(F, ">>", "log") or die $!; $| = 1;
      for (1 .. 100000) { syswrite(F, "line $_\\n") or die "write: $!"; F->sync or die "sync: $!"; print "$_\\n" }`;
    const writer = spawn("timeout", ["60", "perl", "-e", script], { cwd: volume.path, stdio: ["ignore", "pipe", "inherit"] });
    let told = "";
    writer.stdout.on("data", (chunk: Buffer) => (told += chunk.toString()));
    const ended = new Promise((resolve) => writer.once("close", resolve));
    for (let kill = 0; kill < 5; kill += 1) {
      await sleep(300);
      await volume.killServer();
    }
    await sleep(300);
    assert.equal(writer.exitCode, null, "The writer met an error.");
    writer.kill("SIGKILL");
    await runToEnd(["pkill", "-KILL", "--parent", String(writer.pid)]);
    await ended;
    const count = told.split("\n").filter((line) => line !== "").length;
    assert.ok(count > 10, `Only ${count} lines were acknowledged.`);
    const lines = (await readFile(join(volume.plain, "log"), "utf8")).split("\n").slice(0, count);
    assert.deepEqual(
      lines,
      Array.from({ length: count }, (_, at) => `line ${at + 1}`),
    );
  });

  it("lets go at once of programs that are killed while they wait", async () => {
    await writeFile(join(volume.plain, "f"), "x".repeat(1 << 20));
    await volume.rule({ slow: { effect: { $case: "latency", value: { delayUs: 60_000_000 } } } });
    const works = ["cat f", "dd if=/dev/zero of=g bs=64k count=16", "ls -l", "stat f", "mkdir d", "sqlite3 x.db 'create table t (a)'"];
    const children = works.map((work): ChildProcess => spawn("bash", ["-c", `exec ${work}`], { cwd: volume.plain, stdio: "ignore" }));
    const served = works.map((work): ChildProcess => spawn("bash", ["-c", `cd ${volume.path}; exec ${work}`], { stdio: "ignore" }));
    await Promise.all(children.map((child) => new Promise((resolve) => child.once("close", resolve))));
    await sleep(500);
    for (const child of served) child.kill("SIGKILL");
    await waitUntil("All programs are gone", () => served.every(({ signalCode }) => signalCode === "SIGKILL"), { timeoutMs: 5_000 });
  });

  it("carries a large file whole, by all ways of writing and reading it", async () => {
    const write =
      "dd if=/dev/urandom of=a bs=1M count=64 status=none; dd if=a of=b bs=4k oflag=direct iflag=direct status=none; cp --sparse=always a c";
    await says(volume.path, `${write}; cat a > d; truncate -s 1G e; dd if=a of=e bs=1M seek=900 conv=notrunc status=none`);
    const [a = "", ...others] = ["a", "b", "c", "d"].map((name) =>
      createHash("sha256")
        .update(readFileSync(join(volume.plain, name)))
        .digest("hex"),
    );
    assert.deepEqual(others, [a, a, a]);
    assert.equal(await says(volume.path, "cmp <(tail -c +$((900 * 1048576 + 1)) e | head -c 67108864) a && echo same"), "same");
    assert.ok(Number(await says(volume.path, "du -m e | cut -f1")) < 100);
  });
});
