import type { Name, NodeId } from "../file-operations.ts";

/** More than this many at a time are not worth their memory. */
const MOST = 4096;

interface AbsentName {
  readonly parent: NodeId;
  readonly name: Name;
  readonly untilMs: number;
}

/** Names that the kernel was told to take for absent for a while, without asking. */
export class AbsentNames {
  readonly #keepMs: number;
  #names: AbsentName[] = [];

  constructor({ keepMs }: { readonly keepMs: number }) {
    this.#keepMs = keepMs;
  }

  /** Remembers one more; false where there is no room, so that it must not be told. */
  add(parent: NodeId, name: Name, nowMs: number): boolean {
    if (this.#names.length >= MOST) {
      // They are in order of time. Rarely, as it takes long: only where half of them go.
      const middle = this.#names[MOST / 2];
      if (middle !== undefined && middle.untilMs > nowMs) return false;
      this.#names = this.#names.filter(({ untilMs }) => untilMs > nowMs);
    }
    this.#names.push({ parent, name, untilMs: nowMs + this.#keepMs });
    return true;
  }

  /** Those that the kernel may still take for absent. */
  all(): readonly Omit<AbsentName, "untilMs">[] {
    return this.#names;
  }
}
