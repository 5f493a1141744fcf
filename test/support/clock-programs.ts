import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A program that prints, five times a second, what it takes for the time: one or more numbers, all milliseconds since 1970. */
export interface ClockProgram {
  readonly name: string;
  readonly argv: readonly [program: string, ...parameters: string[]];
}

const C = `#include <stdio.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
int main(void) {
  setvbuf(stdout, 0, _IOLBF, 0);
  for (;;) {
    struct timespec t; struct timeval v; time_t s;
    clock_gettime(CLOCK_REALTIME, &t); gettimeofday(&v, 0); time(&s);
    printf("%lld %lld %lld\\n", t.tv_sec * 1000LL + t.tv_nsec / 1000000, v.tv_sec * 1000LL + v.tv_usec / 1000, (long long)s * 1000);
    usleep(200000);
  }
}
`;
const GO = `package main

import ("fmt"; "time")

func main() { for { fmt.Println(time.Now().UnixMilli()); time.Sleep(200 * time.Millisecond) } }
`;
const JAVA = `public class Clock {
  public static void main(String[] none) throws Exception {
    for (;;) { System.out.println(System.currentTimeMillis() + " " + java.time.Instant.now().toEpochMilli()); Thread.sleep(200); }
  }
}
`;
const PYTHON = `import time
while True:
    print(int(time.time() * 1000), flush=True)
    time.sleep(0.2)
`;
const NODE = `setInterval(() => console.log(String(Date.now())), 200);`;

const find = (...paths: readonly string[]): string | undefined => paths.find((path) => existsSync(path));
const GO_PATHS = ["/usr/local/go/bin/go", "/usr/bin/go"] as const;

/** Builds them into a folder, in every language that this machine can build or run. `missing` names the others, with what they lack. */
export function buildClockPrograms(folder: string): { readonly programs: readonly ClockProgram[]; readonly missing: readonly string[] } {
  mkdirSync(folder, { recursive: true });
  const programs: ClockProgram[] = [];
  const missing: string[] = [];
  const source = (name: string, text: string): string => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  };
  const build = (name: string, tool: string | undefined, what: string, make: (tool: string) => ClockProgram["argv"]): void => {
    if (tool === undefined) missing.push(`${name} (${what})`);
    else programs.push({ name, argv: make(tool) });
  };
  const out = (name: string): string => join(folder, name);
  const run = (program: string, ...parameters: readonly string[]): void =>
    void execFileSync(program, parameters, {
      cwd: folder,
      stdio: ["ignore", "ignore", "inherit"],
      env: { ...process.env, CGO_ENABLED: "0", GO111MODULE: "off" },
    });

  const c = source("clock.c", C);
  const compile = (tool: string, name: string, ...flags: readonly string[]): ClockProgram["argv"] => {
    run(tool, "-O1", ...flags, "-o", out(name), c);
    return [out(name)];
  };
  build("C (glibc)", find("/usr/bin/gcc"), "gcc", (tool) => compile(tool, "clock-glibc"));
  build("C (glibc, static)", find("/usr/bin/gcc"), "gcc", (tool) => compile(tool, "clock-static", "-static"));
  build("C (musl)", find("/usr/bin/musl-gcc"), "musl-tools", (tool) => compile(tool, "clock-musl", "-static"));
  build("Go", find(...GO_PATHS), "go", (tool) => {
    run(tool, "build", "-o", out("clock-go"), source("clock.go", GO));
    return [out("clock-go")];
  });
  build("Java", find("/usr/bin/javac"), "a JDK", (tool) => {
    run(tool, "-d", folder, source("Clock.java", JAVA));
    return ["/usr/bin/java", "-XX:TieredStopAtLevel=1", "-cp", folder, "Clock"];
  });
  build("Python", find("/usr/bin/python3"), "python3", (tool) => [tool, source("clock.py", PYTHON)]);
  build("Node", process.execPath, "node", (tool) => [tool, source("clock.mjs", NODE)]);
  return { programs, missing };
}
