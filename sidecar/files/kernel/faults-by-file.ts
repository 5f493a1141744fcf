import type { Name, NodeId } from "../file-operations.ts";
import { type CacheRules, cacheRulesFor, type CompiledFault, type FaultLayer } from "../fault-layer.ts";
import type { Node, NodeTable } from "../node-table.ts";
import { op, REQUEST_HEADER } from "./protocol.ts";
import { NODE_AT, readName, readNode } from "./wire.ts";

const BODY = REQUEST_HEADER;

/** Which faults there are on the files that requests of the kernel are about. */
export class FaultsByFile {
  readonly #faults: FaultLayer;
  readonly #nodes: NodeTable;

  constructor(faults: FaultLayer, nodes: NodeTable) {
    this.#faults = faults;
    this.#nodes = nodes;
  }

  /** Those on the node of a request, or on the names in it. Throws EINVAL where it has no such names, ESTALE for a node that is gone. */
  ofRequest(request: Buffer, code: number, length: number): readonly CompiledFault[] {
    const node = this.#nodes.get(readNode(request, NODE_AT));
    switch (code) {
      case op.LOOKUP:
      case op.UNLINK:
      case op.RMDIR:
      case op.SYMLINK:
        return this.atName(node, readName(request, BODY, length));
      case op.MKDIR:
      case op.LINK:
        return this.atName(node, readName(request, BODY + 8, length));
      case op.MKNOD:
      case op.CREATE:
        return this.atName(node, readName(request, BODY + 16, length));
      case op.RENAME:
      case op.RENAME2: {
        const start = BODY + (code === op.RENAME ? 8 : 16);
        const name = readName(request, start, length);
        const newParent = this.#nodes.get(readNode(request, BODY));
        const newName = readName(request, start + name.length + 1, length);
        return [...new Set([...this.atName(node, name), ...this.atName(newParent, newName)])];
      }
      default:
        return this.onNode(node);
    }
  }

  atName(parent: Node, name: Name): readonly CompiledFault[] {
    return this.#faults.faultsAt(this.pathOf(parent, name));
  }

  onNode(node: Node): readonly CompiledFault[] {
    if (this.#faults.isIdle) return [];
    if (node.matchedAt !== this.#faults.epoch) {
      node.matched = this.#faults.faultsAt(this.#nodes.volumePath(node));
      node.matchedAt = this.#faults.epoch;
    }
    return node.matched;
  }

  /** What the kernel may keep of a file. */
  cacheRules(id: NodeId): CacheRules {
    const node = this.#nodes.known(id);
    return cacheRulesFor(node === undefined ? [] : this.onNode(node));
  }

  /** Whether the kernel may keep that a name is there, or is not. */
  keepsName(parent: Node, name: Name): boolean {
    return this.#faults.isIdle || cacheRulesFor(this.atName(parent, name)).keepsNames;
  }

  pathOf(parent: Node, name: Name): Name {
    const folder = this.#nodes.volumePath(parent);
    return folder === "/" ? `/${name}` : `${folder}/${name}`;
  }
}
