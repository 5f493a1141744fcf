// Runs before `npm start`, `npm test` and friends, on whatever Node the machine has: installs what package-lock.json
// names, Node 24 included, unless that is there already. Plain JavaScript on purpose: nothing is installed yet.
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, readFileSync } from "node:fs";

const wanted = "package-lock.json";
const installed = "node_modules/.squall-installed";
if (!existsSync(installed) || readFileSync(installed, "utf8") !== readFileSync(wanted, "utf8")) {
  console.error("Installing the packages of package-lock.json, Node 24 included (about 30 s, once) ...");
  // Versions and checksums come from package-lock.json. Not `npm ci`: it refuses where a registry lacks packages for other platforms.
  const npm = spawnSync("npm", ["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (npm.status !== 0) {
    console.error("npm install failed, see above. Check that a package registry can be reached, then run the command again.");
    process.exit(npm.status ?? 1);
  }
  copyFileSync(wanted, installed);
}
