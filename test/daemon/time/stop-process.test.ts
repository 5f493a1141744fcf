import assert from "node:assert/strict";
import type { Look, Ptrace } from "../../../daemon/time/ptrace.ts";
import { createStopper, StopError } from "../../../daemon/time/stop-process.ts";

/** Threads of this very process as far as /proc is concerned, with a ptrace that only notes what it is asked. */
function fakePtrace({ looks = [], denied = false }: { readonly looks?: readonly Look[]; readonly denied?: boolean }): {
  readonly ptrace: Ptrace;
  readonly calls: string[];
} {
  const calls: string[] = [];
  let looked = 0;
  const note = (call: string) => (thread: number) => {
    if (thread === process.pid) calls.push(call);
    return "done" as const;
  };
  return {
    calls,
    ptrace: {
      seize: (thread) => (denied ? "denied" : note("seize")(thread)),
      interrupt: note("interrupt"),
      look: (thread) => (thread === process.pid ? looks[looked++] : undefined) ?? { is: "stopped", signal: 0 },
      detach: (thread, signal) => note(`detach ${signal}`)(thread),
      readPosition: () => ({ counter: 1, stack: 2 }),
    },
  };
}

const usual = (): (() => void) => () => {};

describe("a stopper", () => {
  it("stops every thread, acts, and lets them go", () => {
    const { ptrace, calls } = fakePtrace({});
    const positions = createStopper(ptrace, usual).during(process.pid, (stopped) => {
      calls.push("act");
      return stopped.positions;
    });
    assert.deepEqual(calls, ["seize", "interrupt", "act", "detach 0"]);
    assert.deepEqual(positions[0], { counter: 1, stack: 2 });
  });

  it("waits for the stop", () => {
    const { ptrace, calls } = fakePtrace({ looks: [{ is: "running" }, { is: "running" }] });
    createStopper(ptrace, usual).during(process.pid, () => calls.push("act"));
    assert.deepEqual(calls, ["seize", "interrupt", "act", "detach 0"]);
  });

  it("hands a thread the signal that it was about to get", () => {
    const { ptrace, calls } = fakePtrace({
      looks: [
        { is: "stopped", signal: 10 },
        { is: "stopped", signal: 10 },
      ],
    });
    createStopper(ptrace, usual).during(process.pid, () => {});
    assert.equal(calls.at(-1), "detach 10");
  });

  it("lets all go when the act throws", () => {
    const { ptrace, calls } = fakePtrace({});
    assert.throws(() =>
      createStopper(ptrace, usual).during(process.pid, () => {
        throw new Error("no");
      }),
    );
    assert.equal(calls.at(-1), "detach 0");
  });

  it("gives precedence back, whatever happens", () => {
    let precedence = 0;
    const take = (): (() => void) => {
      precedence++;
      return () => void precedence--;
    };
    const { ptrace } = fakePtrace({ denied: true });
    assert.throws(() => createStopper(ptrace, take).during(process.pid, () => {}), StopError);
    assert.equal(precedence, 0);
  });

  it("says which right is missing", () => {
    const { ptrace } = fakePtrace({ denied: true });
    assert.throws(() => createStopper(ptrace, usual).during(process.pid, () => {}), {
      message: "ptrace(2) is not allowed on it. This process needs the capability SYS_PTRACE.",
    });
  });

  it("lets a thread go later that is still running when the act is over", async () => {
    const { ptrace, calls } = fakePtrace({ looks: [{ is: "stopped", signal: 0 }, { is: "running" }, { is: "running" }] });
    createStopper(ptrace, usual).during(process.pid, () => {});
    assert.ok(!calls.includes("detach 0"));
    while (!calls.includes("detach 0")) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(calls, ["seize", "interrupt", "interrupt", "detach 0"]);
  });
});
