import { DatabaseSync } from "node:sqlite";
import { createInterface } from "node:readline";

/**
 * `sqlite-session.ts FILE JOURNAL_MODE`: a connection that lives long writes, another one each time reads: SQLite keeps pages that it has read, right or
 * wrong. A line in is `write KEY` or `read`; a line out is JSON.
 */
const [file = "", journalMode = ""] = process.argv.slice(2);
const database = new DatabaseSync(file, { timeout: 5_000 });
database.exec(`PRAGMA journal_mode = ${journalMode}; PRAGMA synchronous = FULL; PRAGMA cache_size = 5;`);
database.exec("CREATE TABLE IF NOT EXISTS t (key INTEGER PRIMARY KEY, value TEXT);");
const words: Readonly<Record<string, (key: number) => unknown>> = {
  write: (key) => void database.prepare("INSERT OR REPLACE INTO t VALUES (?, ?)").run(key, `value ${key} `.repeat(50)),
  read: () => {
    using reading = new DatabaseSync(file, { timeout: 5_000, readOnly: true });
    return reading
      .prepare("SELECT key, value FROM t")
      .all()
      .filter(({ key, value }) => value === `value ${Number(key)} `.repeat(50))
      .map(({ key }) => key);
  },
};
process.stdout.write("null\n");
for await (const line of createInterface({ input: process.stdin })) {
  const [word = "", key] = line.split(" ");
  try {
    process.stdout.write(`${JSON.stringify({ ok: words[word]?.(Number(key)) ?? null })}\n`);
  } catch (error) {
    process.stdout.write(`${JSON.stringify({ failed: String(error) })}\n`);
  }
}
