import { access, readFile, rename, writeFile } from "node:fs/promises";
import { hasCode } from "./process-table.ts";

/** Whether there is a file or folder that this process may reach. */
export async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

/** Its content, or undefined where there is none. */
export async function readIfThere(file: string): Promise<string | undefined> {
  return await readFile(file, "utf8").catch((error: unknown) => {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  });
}

/** Writes a file that nobody ever sees half of. */
export async function writeWhole(file: string, content: string, { mode }: { readonly mode?: number } = {}): Promise<void> {
  await writeFile(`${file}.new`, content, mode === undefined ? {} : { mode });
  await rename(`${file}.new`, file);
}
