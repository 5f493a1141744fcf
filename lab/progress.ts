import yoctoSpinner from "yocto-spinner";

/** Tells a person what takes so long. Writes to standard error, so that standard output stays free for results. */
export interface Progress {
  /** One finished line. */
  say(line: string): void;
  /** Shows `what` and the time it has taken so far until `work` ends; `note` tells which part is at work. */
  during<T>(what: string, work: (note: (text: string) => void) => Promise<T>): Promise<T>;
}

/** How often a log without a terminal says that work is still going on. */
const SIGN_OF_LIFE_MS = 20_000;
/** Work shorter than this leaves no line behind. */
const WORTH_TELLING_MS = 500;

/** A spinner on a terminal; elsewhere a line at the start, one every 20 s and one at the end. */
export function createProgress(stream: NodeJS.WriteStream): Progress {
  const say = (line: string): void => void stream.write(`${line}\n`);
  return { say, during: (what, work) => (stream.isTTY ? spin(stream, what, work) : tell(say, what, work)) };
}

/** Says nothing. */
export const silentProgress: Progress = { say: () => undefined, during: (_what, work) => work(() => undefined) };

/** "8 s", "3 min 20 s". */
export function elapsed(ms: number): string {
  const seconds = Math.round(ms / 1000);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

async function spin<T>(stream: NodeJS.WriteStream, what: string, work: (note: (text: string) => void) => Promise<T>): Promise<T> {
  const started = performance.now();
  let note = "";
  const spinner = yoctoSpinner({ stream }).start();
  const refresh = (): void => {
    spinner.text = `${what} (${elapsed(performance.now() - started)})${note === "" ? "" : `: ${note}`}`;
  };
  refresh();
  const timer = setInterval(refresh, 1000);
  try {
    const result = await work((text) => {
      note = text;
      refresh();
    });
    spinner.success(`${what} (${elapsed(performance.now() - started)})`);
    return result;
  } catch (error) {
    spinner.error(`${what}: failed after ${elapsed(performance.now() - started)}`);
    throw error;
  } finally {
    clearInterval(timer);
  }
}

async function tell<T>(say: (line: string) => void, what: string, work: (note: (text: string) => void) => Promise<T>): Promise<T> {
  const started = performance.now();
  let note = "";
  const took = (): string => elapsed(performance.now() - started);
  const timer = setInterval(() => say(`${what}: still at it after ${took()}${note === "" ? "" : `, ${note}`}`), SIGN_OF_LIFE_MS);
  try {
    const result = await work((text) => {
      note = text;
    });
    if (performance.now() - started >= WORTH_TELLING_MS) say(`${what}: done in ${took()}`);
    return result;
  } catch (error) {
    say(`${what}: failed after ${took()}`);
    throw error;
  } finally {
    clearInterval(timer);
  }
}
