import { closeSync, mkdirSync, openSync, rmSync, statSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";

/** `file-client.ts stat|create FOLDER MS`: does it for so long, and prints how often in a second. */
const [what = "", folder = "", ms = ""] = process.argv.slice(2);
const own = join(folder, `client-${process.pid}`);
mkdirSync(own);
const PATHS = Array.from({ length: 100 }, (_, at) => join(own, `file-${at}`));
const bytes = Buffer.alloc(100, 7);
const works: Readonly<Record<string, (path: string, round: number) => void>> = {
  stat: (path) => void statSync(path),
  create: (path, round) => {
    const file = openSync(`${path}-${round}`, "w");
    writeSync(file, bytes);
    closeSync(file);
  },
};
const work = works[what];
if (work === undefined) throw new Error(`There is no work called ${what}.`);
for (const path of PATHS) writeFileSync(path, bytes);
let done = 0;
const startMs = performance.now();
for (let round = 0; performance.now() - startMs < Number(ms); round += 1)
  for (const path of PATHS) {
    work(path, round);
    done += 1;
  }
process.stdout.write(String((done / (performance.now() - startMs)) * 1000));
rmSync(own, { recursive: true });
