import type { Credential } from "../../certs/authority.ts";
import { readCpuMs } from "../support/process-cpu.ts";
import type { AgentsOrder, AgentsState, SimulatedPod } from "./agents-process.ts";
import { type Asked, forkAsked } from "./orders.ts";

/** Addresses of loopback, of which every machine has sixteen million; others for another process. */
export const addressOf = (index: number): string => `127.${1 + (process.pid % 250)}.${index >> 8}.${index & 255}`;

/** As many processes as a machine of two cores can run beside a controller. */
const PROCESSES = 2;

/** The agents of many pods, which run nowhere. */
export interface Agents {
  readonly pids: readonly number[];
  state(): Promise<AgentsState>;
  cpuMs(): number;
  end(): Promise<void>;
}

/** Resolves when all of them listen. */
export async function startAgents(pods: readonly SimulatedPod[], authority: Credential): Promise<Agents> {
  const module = new URL("agents-process.ts", import.meta.url);
  const processes = Array.from({ length: PROCESSES }, () => forkAsked(module, { execArgv: [] }));
  const askAll = (orderFor: (index: number) => AgentsOrder): Promise<readonly unknown[]> =>
    Promise.all(processes.map((one: Asked, index) => one.ask(orderFor(index))));
  await askAll((index) => ({ do: "start", pods: pods.filter((_, pod) => pod % PROCESSES === index), authority }));
  return {
    pids: processes.map(({ pid }) => pid),
    async state() {
      const states = (await askAll(() => ({ do: "state" }))) as readonly AgentsState[];
      const sum = (valueOf: (state: AgentsState) => number): number => states.reduce((total, state) => total + valueOf(state), 0);
      return {
        inForce: sum(({ inForce }) => inForce),
        touched: sum(({ touched }) => touched),
        firstAppliedMs: Math.min(...states.map((state) => state.firstAppliedMs)),
        lastAppliedMs: Math.max(...states.map((state) => state.lastAppliedMs)),
        lastRecoveredMs: Math.max(...states.map((state) => state.lastRecoveredMs)),
      };
    },
    cpuMs: () => processes.reduce((total, { pid }) => total + readCpuMs(pid), 0),
    async end() {
      await Promise.all(processes.map((one) => one.end()));
    },
  };
}
