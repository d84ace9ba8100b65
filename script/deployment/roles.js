// Who holds the roles of token and timelock: only their events tell, so every holder is found, also one that should not be there.
const { ask } = require("./rpc.js");

// keccak256("RoleGranted(bytes32,address,address)") and keccak256("RoleRevoked(bytes32,address,address)")
const GRANTED = "0x2f8788117e7eff1d82e926ec794901d17c78024a50270940304540a733656f0d";
const REVOKED = "0xf6391f5c32d9c69d2a47ea670b442974b53935d1edc7fd64eb21e047a839171b";
// keccak256 of the names; the administrator's is zero.
const ROLES = {
  DEFAULT_ADMIN_ROLE: `0x${"0".repeat(64)}`,
  MINTER_ROLE: "0x9f2df0fed2c77648de5860a4cc508cd0818c85b8b8a1ab4ceeef8d981c8956a6",
  BURNER_ROLE: "0x3c11d16cbaffd01df69ce1c404f6340ee057498f5f00246190ea54220576a848",
  PROPOSER_ROLE: "0xb09aa5aeb3702cfd50b6b62bc4532604938f21248a27a1d5ca736082b6819cc1",
  EXECUTOR_ROLE: "0xd8aa0f3194971a2a116679f7c2090f6939c8d4e01a2a8d7e41d55e5351469e63",
  CANCELLER_ROLE: "0xfd643c72710c63c0180259aba6b2d05451e3591a24e58b62239378085726f783",
};
const ANYONE = `0x${"0".repeat(40)}`;

/** Holders by role, the names of roles that nobody knows included. */
async function holders(rpc, address, fromBlock) {
  const filter = { address, fromBlock, toBlock: "latest", topics: [[GRANTED, REVOKED]] };
  const found = new Map();
  for (const { topics } of await ask(rpc, "eth_getLogs", [filter])) {
    const role = Object.keys(ROLES).find((name) => ROLES[name] === topics[1]) ?? topics[1];
    const accounts = found.get(role) ?? new Set();
    const account = `0x${topics[2].slice(26)}`;
    if (topics[0] === GRANTED) accounts.add(account);
    else accounts.delete(account);
    found.set(role, accounts);
  }
  return found;
}

const list = (accounts) => [...new Set([...accounts].map((account) => account.toLowerCase()))].sort().join(" ") || "nobody";

/** Items like those of script/Verify.s.sol, one per role. */
async function compareRoles({ config, rpc }, addresses) {
  const { Deployer, LivepeerToken, Minter, SlashingManager, Timelock, Block } = addresses;
  const accounts = (words) => words.map((word) => ({ deployer: Deployer, anyone: ANYONE })[word] ?? word);
  const expected = {
    LivepeerToken: { DEFAULT_ADMIN_ROLE: [Timelock], MINTER_ROLE: [Minter], BURNER_ROLE: [Minter, SlashingManager] },
    Timelock: {
      DEFAULT_ADMIN_ROLE: [Timelock],
      PROPOSER_ROLE: accounts(config.proposers),
      EXECUTOR_ROLE: accounts(config.executors),
      CANCELLER_ROLE: accounts([...config.proposers, ...config.cancellers]),
    },
  };
  const items = [];
  for (const [contract, roles] of Object.entries(expected)) {
    const actual = await holders(rpc, addresses[contract], Block ?? "0x0");
    for (const role of new Set([...Object.keys(roles), ...actual.keys()])) {
      const [wanted, found] = [list(roles[role] ?? []), list(actual.get(role) ?? [])];
      items.push({ name: `${contract}: holders of ${role}`, expected: wanted, actual: found, equal: wanted === found });
    }
  }
  return items;
}

module.exports = { compareRoles };
