/** A database on a folder, as a test uses one. Keys are whole numbers from 1 on. */
export interface Database {
  readonly name: string;
  /** Glob below /data of the files whose errors and mistakes the database can notice; undefined: all of its files. */
  readonly faultedPath?: string;
  /** The same for mistakes alone, where it is not the same: files with check sums. */
  readonly mistakenPath?: string;
  prepare(): Promise<void>;
  /** Makes an empty one, ready to be started. */
  create(folder: string): Promise<void>;
  start(folder: string): Promise<RunningDatabase>;
  /** Its own check of what is on the disk, of one that does not run: what it complains of. */
  check(folder: string): Promise<readonly string[]>;
}

export interface RunningDatabase {
  readonly pid: number;
  /** How it ended, by itself; undefined while it runs. */
  readonly end: string | undefined;
  /** Resolves once the database acknowledges. */
  write(key: number): Promise<void>;
  /** Keys that are there with the value that was written. */
  read(): Promise<readonly number[]>;
  /** SIGKILL to all of its processes. */
  kill(): Promise<void>;
}
