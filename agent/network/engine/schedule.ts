/** Packets by the time at which they are due. Equal times leave in the order in which they came. */
export interface Schedule {
  /** How many are held. */
  size(): number;
  push(dueMs: number, handle: number): void;
  /** Takes the handle that has been due the longest at `nowMs`; -1 when none is. */
  pop(nowMs: number): number;
  /** When the next one is due; Infinity when nothing is held. */
  nextDueMs(): number;
}

/**
 * A ring for what is due no earlier than everything in the ring (all packets of a constant delay: no comparison is needed),
 * a binary heap for the others (jitter, several delays).
 */
export function createSchedule(): Schedule {
  let capacity = 256;
  let ringDue = new Float64Array(capacity);
  let ringOrder = new Float64Array(capacity);
  let ringHandle = new Int32Array(capacity);
  let head = 0; // head and tail only grow; a position in the ring is taken modulo the capacity
  let tail = 0;
  let lastDue = 0;

  let heapDue = new Float64Array(256);
  let heapOrder = new Float64Array(256);
  let heapHandle = new Int32Array(256);
  let heapSize = 0;

  let order = 0;

  function growRing(): void {
    const due = new Float64Array(capacity * 2);
    const orders = new Float64Array(capacity * 2);
    const handles = new Int32Array(capacity * 2);
    for (let from = head; from < tail; from++) {
      const at = from & (capacity - 1);
      due[from - head] = ringDue[at] ?? 0;
      orders[from - head] = ringOrder[at] ?? 0;
      handles[from - head] = ringHandle[at] ?? 0;
    }
    tail -= head;
    head = 0;
    capacity *= 2;
    [ringDue, ringOrder, ringHandle] = [due, orders, handles];
  }

  function growHeap(): void {
    const [due, orders, handles] = [heapDue, heapOrder, heapHandle];
    heapDue = new Float64Array(due.length * 2);
    heapOrder = new Float64Array(due.length * 2);
    heapHandle = new Int32Array(due.length * 2);
    heapDue.set(due);
    heapOrder.set(orders);
    heapHandle.set(handles);
  }

  const isBefore = (dueA: number, orderA: number, dueB: number, orderB: number): boolean =>
    dueA < dueB || (dueA === dueB && orderA < orderB);

  function place(at: number, due: number, own: number, handle: number): void {
    heapDue[at] = due;
    heapOrder[at] = own;
    heapHandle[at] = handle;
  }

  function moveHeapEntry(from: number, to: number): void {
    place(to, heapDue[from] ?? 0, heapOrder[from] ?? 0, heapHandle[from] ?? 0);
  }

  function pushHeap(due: number, own: number, handle: number): void {
    if (heapSize === heapDue.length) growHeap();
    let at = heapSize++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(due, own, heapDue[parent] ?? 0, heapOrder[parent] ?? 0)) break;
      moveHeapEntry(parent, at);
      at = parent;
    }
    place(at, due, own, handle);
  }

  function popHeap(): number {
    const handle = heapHandle[0] ?? -1;
    const last = --heapSize;
    const due = heapDue[last] ?? 0;
    const own = heapOrder[last] ?? 0;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= last) break;
      const right = child + 1;
      if (right < last && isBefore(heapDue[right] ?? 0, heapOrder[right] ?? 0, heapDue[child] ?? 0, heapOrder[child] ?? 0)) child = right;
      if (!isBefore(heapDue[child] ?? 0, heapOrder[child] ?? 0, due, own)) break;
      moveHeapEntry(child, at);
      at = child;
    }
    place(at, due, own, heapHandle[last] ?? -1);
    return handle;
  }

  const ringNext = (): number => (head === tail ? Infinity : (ringDue[head & (capacity - 1)] ?? Infinity));
  const heapNext = (): number => (heapSize === 0 ? Infinity : (heapDue[0] ?? Infinity));

  return {
    size: () => tail - head + heapSize,
    push(dueMs, handle) {
      const own = order++;
      if (head !== tail && dueMs < lastDue) {
        pushHeap(dueMs, own, handle);
        return;
      }
      if (tail - head === capacity) growRing();
      const at = tail++ & (capacity - 1);
      ringDue[at] = dueMs;
      ringOrder[at] = own;
      ringHandle[at] = handle;
      lastDue = dueMs;
    },
    pop(nowMs) {
      const ring = ringNext();
      const heap = heapNext();
      if (ring > nowMs && heap > nowMs) return -1;
      if (head === tail) return heapSize === 0 ? -1 : popHeap();
      const at = head & (capacity - 1);
      if (heapSize > 0 && isBefore(heap, heapOrder[0] ?? 0, ring, ringOrder[at] ?? 0)) return popHeap();
      head++;
      return ringHandle[at] ?? -1;
    },
    nextDueMs: () => Math.min(ringNext(), heapNext()),
  };
}
