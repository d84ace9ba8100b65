// A deployment from nothing to a manipulated one, on an anvil of its own: script/deploy and script/verify-deployment as they are used.
const assert = require("node:assert/strict");
const { spawn } = require("node:child_process");
const { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { join } = require("node:path");
const { after, afterEach, before, beforeEach, test } = require("node:test");

const ROOT = join(__dirname, "../..");
const DEPLOYER = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";
// ERC-1967: keccak256("eip1967.proxy.implementation") - 1
const IMPLEMENTATION_SLOT = "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc";
const SET_UNLOCK_PERIOD_TO_FIVE = `0x3d0ddf84${"5".padStart(64, "0")}`;
const MINTER_ROLE = "9f2df0fed2c77648de5860a4cc508cd0818c85b8b8a1ab4ceeef8d981c8956a6"; // keccak256("MINTER_ROLE")
const LIMIT = 900_000; // the first run compiles

let folder, addresses, anvil, rpc, baseline;

async function startAnvil() {
  const child = spawn(join(ROOT, "node_modules/.bin/anvil"), ["--port", "0"], { stdio: ["ignore", "pipe", "ignore"] });
  const url = await new Promise((resolve, reject) => {
    let said = "";
    child.on("error", reject).on("exit", (code) => reject(new Error(`anvil ended with ${code}`)));
    child.stdout.on("data", (data) => {
      const port = (said += data).match(/Listening on 127\.0\.0\.1:(\d+)/)?.[1];
      if (port) resolve(`http://127.0.0.1:${port}`);
    });
  });
  return { child, url };
}

async function ask(method, ...params) {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
  const answer = await (await fetch(rpc, { method: "POST", headers: { "content-type": "application/json" }, body })).json();
  assert.equal(answer.error, undefined, `${method}: ${JSON.stringify(answer.error)}`);
  return answer.result;
}

const nonce = () => ask("eth_getTransactionCount", DEPLOYER, "latest");

/** Exit code and output of a script of this repository. */
function run(script, ...words) {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("STREAMFLOW_")));
  const child = spawn(join(ROOT, "script", script), ["--rpc", rpc, "--file", addresses, ...words], {
    cwd: ROOT,
    env: { ...env, FOUNDRY_BROADCAST: join(folder, "broadcast") },
  });
  let output = "";
  child.stdout.on("data", (data) => (output += data));
  child.stderr.on("data", (data) => (output += data));
  return new Promise((resolve, reject) => child.on("error", reject).on("close", (code) => resolve({ code, output })));
}

/** A file of its own with the changed configuration of anvil. */
function configWith(change) {
  const config = JSON.parse(readFileSync(join(ROOT, "script/config/31337.json"), "utf8"));
  change(config);
  const file = join(mkdtempSync(join(folder, "config-")), "31337.json");
  writeFileSync(file, JSON.stringify(config));
  return file;
}

before(async () => {
  ({ child: anvil, url: rpc } = await startAnvil());
  baseline = await ask("evm_snapshot");
});
after(() => anvil.kill());
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "streamflow-deployment-"));
  addresses = join(folder, "31337.json");
});
afterEach(async () => {
  rmSync(folder, { recursive: true });
  await ask("evm_revert", baseline);
  baseline = await ask("evm_snapshot");
});

test("a dry run sends nothing and shows every transaction", { timeout: LIMIT }, async () => {
  const { code, output } = await run("deploy");
  assert.equal(code, 0, output);
  assert.match(output, /BondingManagerImplementation +deploy +0x[0-9a-f]{40} +\d+/);
  assert.match(output, /nothing was sent/);
  assert.equal(await nonce(), "0x0");
  assert.equal(existsSync(addresses), false);
});

test("what was deployed verifies, is left alone the second time, and what was changed is named", { timeout: LIMIT }, async () => {
  const first = await run("deploy", "--broadcast");
  assert.equal(first.code, 0, first.output);
  const { TicketBroker, LivepeerToken, SlashingManagerImplementation, TicketBrokerImplementation, Timelock } = JSON.parse(readFileSync(addresses));
  const sent = await nonce();

  const second = await run("deploy", "--broadcast");
  assert.equal(second.code, 0, second.output);
  assert.match(second.output, /nothing to do/);
  assert.equal(await nonce(), sent);

  const verified = await run("verify-deployment");
  assert.equal(verified.code, 0, verified.output);

  // Another parameter, set by the owner.
  await ask("anvil_setBalance", Timelock, "0xde0b6b3a7640000");
  await ask("anvil_impersonateAccount", Timelock);
  await ask("eth_sendTransaction", { from: Timelock, to: TicketBroker, data: SET_UNLOCK_PERIOD_TO_FIVE });
  const changed = await run("verify-deployment");
  assert.equal(changed.code, 1, changed.output);
  assert.match(changed.output, /TicketBroker: unlockPeriod\n {2}expected 2\n {2}found {4}5\n1 of \d+ items differ/);
  // A second minter that no list of names knows.
  const grant = `0x2f2ff15d${MINTER_ROLE}${DEPLOYER.slice(2).replace("f3", "a0").padStart(64, "0")}`;
  await ask("eth_sendTransaction", { from: Timelock, to: LivepeerToken, data: grant });
  const granted = await run("verify-deployment");
  assert.match(granted.output, /LivepeerToken: holders of MINTER_ROLE\n {2}expected 0x[0-9a-f]{40}\n {2}found {4}0x[0-9a-f]{40} 0x[0-9a-f]{40}\n/);
  const third = await run("deploy", "--broadcast");
  assert.equal(third.code, 1, third.output);
  assert.match(third.output, /nothing was changed/);

  // Another implementation, and another code at the right address.
  await ask("anvil_setStorageAt", TicketBroker, IMPLEMENTATION_SLOT, `0x${SlashingManagerImplementation.slice(2).padStart(64, "0")}`);
  const moved = await run("verify-deployment", "--json");
  assert.equal(moved.code, 1, moved.output);
  await ask("anvil_setStorageAt", TicketBroker, IMPLEMENTATION_SLOT, `0x${TicketBrokerImplementation.slice(2).padStart(64, "0")}`);
  const code = await ask("eth_getCode", TicketBrokerImplementation, "latest");
  await ask("anvil_setCode", TicketBrokerImplementation, `${code.slice(0, -2)}00`);
  const patched = await run("verify-deployment");
  assert.equal(patched.code, 1, patched.output);
  assert.match(patched.output, /\ncode of TicketBrokerImplementation\n {2}expected 0x[0-9a-f]{64}\n {2}found {4}0x[0-9a-f]{64}\n/);
});

test("a deployment that runs out of funds says so and is resumed", { timeout: LIMIT }, async () => {
  await ask("anvil_setBalance", DEPLOYER, "0x2386f26fc10000"); // 0.01 ether
  const interrupted = await run("deploy", "--broadcast");
  assert.equal(interrupted.code, 1, interrupted.output);
  assert.match(interrupted.output, /interrupted: \d+ of 21 contracts are there/);
  assert.equal(existsSync(addresses), false);
  await ask("anvil_setBalance", DEPLOYER, "0xde0b6b3a7640000");
  const planned = await run("deploy");
  assert.match(planned.output, /was interrupted, \d+ of 21 contracts are there; --broadcast resumes it/);
  const resumed = await run("deploy", "--broadcast");
  assert.equal(resumed.code, 0, resumed.output);
  assert.match(resumed.output, /items are as expected/);
});

test("wrong configuration and arguments are refused by name", { timeout: LIMIT }, async () => {
  const cases = [
    [["--config", configWith((config) => (config.roundLenght = 1))], /unknown key roundLenght/],
    [["--config", configWith((config) => delete config.services[0].committee.fee)], /missing key services\[0\]\.committee\.fee/],
    [["--config", configWith((config) => (config.guardian = "me"))], /guardian must be an address or "deployer" or "nobody"/],
    [["--chain", "arbitrum-sepolia"], /the node is on chain 31337/],
    [["--chain", "elsewhere"], /unknown chain elsewhere; known: anvil, arbitrum-sepolia/],
    [["--privatekey", "0x1"], /unknown argument --privatekey/],
  ];
  for (const [words, message] of cases) {
    const { code, output } = await run("deploy", ...words);
    assert.equal(code, 2, output);
    assert.match(output, message);
  }
});
