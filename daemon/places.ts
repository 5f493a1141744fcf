import type { Fault } from "../proto/gen/agent.ts";
import { readStartTicks } from "./process.ts";
import type { ContainerRuntime, FoundContainer } from "./runtime/container-runtime.ts";

/** Where the container of a fault is now. */
export type Place =
  | { readonly is: "there"; readonly container: FoundContainer }
  | { readonly is: "nowhere"; readonly reason: "NotRunning" | "RuntimeUnavailable"; readonly message: string };

export interface Places {
  find(fault: Fault): Promise<Place>;
  /** Whether any of these faults has a container that came, went or was started again since it was looked for. */
  haveMoved(faults: readonly Fault[]): Promise<boolean>;
  /** Forgets containers of other faults. */
  keepOnly(faults: readonly Fault[]): void;
}

/** Finds containers, and remembers where they were: one that still runs need not be asked for, even while the runtime does not answer. */
export function createPlaces(runtime: Pick<ContainerRuntime, "find">): Places {
  const known = new Map<string, { readonly container: FoundContainer; readonly startTicks: string }>();

  /** The pid of a process that ended may be another one's by now; the time of its start tells. */
  async function recall(key: string): Promise<FoundContainer | undefined> {
    const found = known.get(key);
    if (found !== undefined && (await readStartTicks(found.container.pid)) === found.startTicks) return found.container;
    known.delete(key);
    return undefined;
  }

  async function find(fault: Fault): Promise<Place> {
    const { podUid = "", container = "", namespace = "", pod = "" } = fault.target ?? {};
    const key = keyOf(fault);
    const recalled = await recall(key);
    if (recalled !== undefined) return { is: "there", container: recalled };
    try {
      const found = await runtime.find({ podUid, container });
      const startTicks = found === undefined ? undefined : await readStartTicks(found.pid);
      if (found !== undefined && startTicks !== undefined) {
        known.set(key, { container: found, startTicks });
        return { is: "there", container: found };
      }
      const message = `Container ${container} of pod ${namespace}/${pod} does not run now. The fault is applied as soon as it does.`;
      return { is: "nowhere", reason: "NotRunning", message };
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
