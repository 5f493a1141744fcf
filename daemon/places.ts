import type { Fault } from "../proto/gen/agent.ts";
import { readStartTicks } from "./process.ts";
import type { Place } from "./node-family.ts";
import type { ContainerName, ContainerRuntime, PodName } from "./runtime/container-runtime.ts";

/** Where what a fault is on is now. */
export type Whereabouts =
  | { readonly is: "there"; readonly container: Place }
  | { readonly is: "nowhere"; readonly reason: "NotRunning" | "RuntimeUnavailable"; readonly message: string };

export interface Places {
  /** The container that the fault names; where it names none, the sandbox of the pod. */
  find(fault: Fault): Promise<Whereabouts>;
  /** Whether any of these faults has a container or sandbox that came, went or was started again since it was looked for. */
  haveMoved(faults: readonly Fault[]): Promise<boolean>;
  /** Forgets containers of other faults. */
  keepOnly(faults: readonly Fault[]): void;
}

/** With the time of its process' start. */
interface Found {
  readonly container: Place;
  readonly startTicks: string;
}

/** Finds containers and sandboxes, and remembers where they were: one that still runs need not be asked for, even while the runtime does not answer. */
export function createPlaces(runtime: Pick<ContainerRuntime, "find" | "sandboxPid">): Places {
  const known = new Map<string, Found>();

  /** The pid of a process that ended may be another one's by now; the time of its start tells. */
  async function recall(key: string): Promise<Place | undefined> {
    const found = known.get(key);
    if (found !== undefined && (await readStartTicks(found.container.pid)) === found.startTicks) return found.container;
    known.delete(key);
    return undefined;
  }

  async function findContainer(target: ContainerName): Promise<Found | undefined> {
    const container = await runtime.find(target);
    const startTicks = container === undefined ? undefined : await readStartTicks(container.pid);
    return container === undefined || startTicks === undefined ? undefined : { container, startTicks };
  }

  async function findSandbox(target: PodName): Promise<Found | undefined> {
    const pid = await runtime.sandboxPid(target.podUid);
    const startTicks = pid === undefined ? undefined : await readStartTicks(pid);
    if (pid === undefined || startTicks === undefined) return undefined;
    return { container: { ...target, container: "", id: `sandbox-${pid}-${startTicks}`, pid }, startTicks };
  }

  async function find(fault: Fault): Promise<Whereabouts> {
    const { podUid = "", container = "", namespace = "", pod = "" } = fault.target ?? {};
    const key = keyOf(fault);
    const recalled = await recall(key);
    if (recalled !== undefined) return { is: "there", container: recalled };
    try {
      const found = await (container === "" ? findSandbox({ podUid, namespace, pod }) : findContainer({ podUid, container }));
      if (found !== undefined) {
        known.set(key, found);
        return { is: "there", container: found.container };
      }
      const what = container === "" ? `Pod ${namespace}/${pod}` : `Container ${container} of pod ${namespace}/${pod}`;
      return { is: "nowhere", reason: "NotRunning", message: `${what} does not run now. The fault is applied as soon as it does.` };
    } catch (error) {
      return { is: "nowhere", reason: "RuntimeUnavailable", message: error instanceof Error ? error.message : String(error) };
    }
  }

  return {
    find,
    async haveMoved(faults) {
      const moved = await Promise.all(
        faults.map(async (fault) => {
          const before = known.get(keyOf(fault))?.container.id;
          const now = await find(fault);
          return (now.is === "there" ? now.container.id : undefined) !== before;
        }),
      );
      return moved.includes(true);
    },
    keepOnly(faults) {
      const keys = new Set(faults.map(keyOf));
      for (const key of known.keys()) if (!keys.has(key)) known.delete(key);
    },
  };
}

const keyOf = ({ target }: Fault): string => `${target?.podUid ?? ""}/${target?.container ?? ""}`;
