// What script/deploy and script/verify-deployment share: arguments, the chain, forge, and tables.
const { spawnSync } = require("node:child_process");
const { mkdirSync, mkdtempSync, readFileSync, rmSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { dirname, join, relative } = require("node:path");
const { Usage, findConfig, readConfig } = require("./config.js");
const { compareRoles } = require("./roles.js");
const { ask } = require("./rpc.js");

const ROOT = join(__dirname, "../..");
const ANVIL = 31337;
// forge's record of what it sent, apart from that of other users of the script.
const BROADCAST = process.env.FOUNDRY_BROADCAST ?? join(ROOT, "out/deployments/broadcast");

/** Options of the command line: those in `flags` take no value. Keys never come this way, where every user can read them. */
function parseArguments(words, names, flags, usage) {
  const options = {};
  for (let i = 0; i < words.length; i++) {
    const name = words[i].replace(/^--/, "");
    if (!words[i].startsWith("--") || ![...names, ...flags].includes(name)) throw new Usage(`unknown argument ${words[i]}; usage: ${usage}`);
    if (flags.includes(name)) options[name] = true;
    else if ((options[name] = words[++i]) === undefined) throw new Usage(`--${name} needs a value; usage: ${usage}`);
  }
  return options;
}

/** Configuration, RPC and file of addresses that the options name; the chain that answers must be the configured one. */
async function findTarget(options) {
  const config = options.config ? readConfig(options.config) : findConfig(options.chain ?? "anvil");
  const rpc = options.rpc ?? config.rpc;
  const chainId = Number(await ask(rpc, "eth_chainId", []));
  if (chainId !== Number(config.chainId)) {
    throw new Usage(`the node is on chain ${chainId}, ${relative(process.cwd(), config.file)} is for ${config.chainId}`);
  }
  // Addresses on a development chain are nobody else's business.
  const folder = chainId === ANVIL ? join(ROOT, "out/deployments") : join(ROOT, "script/deployments");
  const file = options.file ?? join(folder, `${chainId}.json`);
  return { config, rpc, chainId, file };
}

const hasCode = async (rpc, address) => (await ask(rpc, "eth_getCode", [address, "latest"])) !== "0x";

/** Runs a script of Foundry; only `variables` set parameters, whatever the caller's environment holds. */
function forge(script, args, rpc, variables) {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith("STREAMFLOW_"));
  const env = {
    ...Object.fromEntries(kept),
    FOUNDRY_PROFILE: "deploy",
    FOUNDRY_BROADCAST: BROADCAST,
    FOUNDRY_DISABLE_NIGHTLY_WARNING: "1",
    NO_COLOR: "1",
    FOUNDRY_ETH_RPC_URL: rpc,
    PATH: `${join(ROOT, "node_modules/.bin")}:${process.env.PATH}`,
    ...variables,
  };
  const result = spawnSync("forge", ["script", script, "--non-interactive", ...args], { cwd: ROOT, env, encoding: "utf8", maxBuffer: 1 << 28 });
  if (result.error) throw result.error;
  if (result.status === 0) return;
  const said = `${result.stdout}\n${result.stderr}`.split("\n").filter((line) => /error|revert|fail/i.test(line) && !/^Warning/.test(line));
  throw new Error(`forge script ${script} failed\n  ${said.slice(-12).join("\n  ")}`);
}

/** What was compared of the deployment in `file`: name, expected and actual value each. */
async function compare(target, file) {
  const { config, rpc } = target;
  const folder = mkdtempSync(join(tmpdir(), "streamflow-verify-"));
  try {
    const report = join(folder, "report.json");
    forge("script/Verify.s.sol:Verify", [], rpc, {
      STREAMFLOW_CONFIG_FILE: config.file,
      STREAMFLOW_DEPLOYMENT_FILE: file,
      STREAMFLOW_REPORT_FILE: report,
    });
    const { names, expected, actual } = readJson(report);
    const items = names.map((name, i) => ({ name, expected: expected[i], actual: actual[i], equal: expected[i] === actual[i] }));
    return [...items, ...(await compareRoles(target, readJson(file)))];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const readJson = (file) => JSON.parse(readFileSync(file, "utf8"));

function makeFolder(file) {
  mkdirSync(dirname(file), { recursive: true });
}

function table(head, rows) {
  const cells = [head, ...rows].map((row) => row.map(String));
  const widths = head.map((_, i) => Math.max(...cells.map((row) => row[i].length)));
  return cells.map((row) => row.map((cell, i) => cell.padEnd(widths[i])).join("  ").trimEnd()).join("\n");
}

/** Prints what differs, or that nothing does. Returns whether all is as expected. */
function reportDifferences(items) {
  const different = items.filter((item) => !item.equal);
  for (const { name, expected, actual } of different) {
    console.log(`${name}\n  expected ${expected}\n  found    ${actual}`);
  }
  console.log(different.length === 0 ? `all ${items.length} items are as expected` : `${different.length} of ${items.length} items differ`);
  return different.length === 0;
}

/** Runs `main` and turns what it returns or throws into an exit code. */
function runCommand(name, main) {
  main(process.argv.slice(2)).then(
    (code) => (process.exitCode = code),
    (err) => {
      console.error(`${name}: ${err.message}`);
      process.exitCode = err instanceof Usage ? 2 : 1;
    },
  );
}

module.exports = {
  ANVIL, BROADCAST, ROOT, Usage, ask, compare, findTarget, forge, hasCode, makeFolder, parseArguments, readJson, reportDifferences,
  runCommand, table,
};
