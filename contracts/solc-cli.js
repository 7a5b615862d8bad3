#!/usr/bin/env node
// Stands in for the native compiler in tools that call one: `--version`, else standard JSON from stdin to stdout.
// The npm package `solc` is looked for in HUB_NPM_DIR, by default .hub/npm beside this folder.
const path = require("path");
const folder = process.env.HUB_NPM_DIR || path.join(__dirname, "..", ".hub", "npm");
const solc = require(path.join(path.resolve(folder), "node_modules", "solc"));
if (process.argv.includes("--version")) {
  const version = solc.version().replace(".Emscripten.clang", ".Linux.g++");
  process.stdout.write(`solc, the solidity compiler commandline interface\nVersion: ${version}\n`);
} else {
  const input = require("fs").readFileSync(0, "utf8");
  const read = (name) => {
    try {
      return { contents: require("fs").readFileSync(name, "utf8") };
    } catch (error) {
      return { error: String(error) };
    }
  };
  process.stdout.write(solc.compile(input, { import: read }));
}
