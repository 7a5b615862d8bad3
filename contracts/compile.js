// Standard JSON from stdin, compiled by the npm package `solc` of the folder named as argument, to stdout.
const path = require("path");
const solc = require(path.join(process.argv[2], "node_modules", "solc"));
const input = require("fs").readFileSync(0, "utf8");
process.stdout.write(JSON.stringify({ version: solc.version(), output: JSON.parse(solc.compile(input)) }));
