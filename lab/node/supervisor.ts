import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startDaemon } from "../daemon-process.ts";
import type { Component } from "./components.ts";

const RESTART_DELAY_MS = 1000;

/** Starts a component and starts it again, after a second, whenever it ends. Returns once it has been started. */
export async function supervise({ name, argv }: Component, logs: string, say: (line: string) => void): Promise<void> {
  const daemon = await startDaemon(name, argv, join(logs, `${name}.log`));
  say(`${name} started`);
  void daemon.ended.then(async (how) => {
    say(`${name} ${how}`);
    await sleep(RESTART_DELAY_MS);
    await supervise({ name, argv }, logs, say);
  });
}
