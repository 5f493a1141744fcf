import { getPriority, setPriority } from "node:os";
import koffi from "koffi";

/**
 * Lets this thread run before all usual ones (sched(7), SCHED_FIFO; niceness where that is not allowed). While it lasts, this thread must mostly wait.
 * The returned function ends it.
 */
export type TakePrecedence = () => () => void;

const USUAL = 0;
const FIRST_COME = 1;

export function openPrecedence(): TakePrecedence {
  const library = koffi.load(null);
  const setScheduler: (pid: number, policy: number, parameters: Buffer) => number = library.func("int sched_setscheduler(int, int, void*)");
  const getScheduler: (pid: number) => number = library.func("int sched_getscheduler(int)");
  const lowest = Buffer.from([1, 0, 0, 0]);
  const none = Buffer.alloc(4);
  return () => {
    if (getScheduler(0) !== USUAL) return () => {};
    if (setScheduler(0, FIRST_COME, lowest) === 0) return () => void setScheduler(0, USUAL, none);
    return becomeLeastNice();
  };
}

function becomeLeastNice(): () => void {
  try {
    const before = getPriority();
    setPriority(0, -20);
    return () => setPriority(0, before);
  } catch {
    return () => {}; // a right that we may lack: stops then take longer on a busy node
  }
}
