// The parameters of a chain: script/config/<chain id>.json, where every key must stand and no other.
const { readdirSync, readFileSync } = require("node:fs");
const { join } = require("node:path");

const FOLDER = join(__dirname, "../config");

/** Wrong arguments or configuration: exit code 2. */
class Usage extends Error {}

const isNumber = (value) => (Number.isSafeInteger(value) && value >= 0) || (typeof value === "string" && /^\d+$/.test(value));
const number = { what: "a whole number, as text if it is long", accepts: isNumber };
const text = { what: "text", accepts: (value) => typeof value === "string" };
const flag = { what: "true or false", accepts: (value) => typeof value === "boolean" };
const ADDRESS = /^0x[0-9a-fA-F]{40}$/;
const account = (...words) => ({
  what: ["an address", ...words.map((word) => `"${word}"`)].join(" or "),
  accepts: (value) => words.includes(value) || (typeof value === "string" && ADDRESS.test(value)),
});

const TERMS = { slashPpm: number, bountyPpm: number, challengeWindow: number, verdictWindow: number, bond: number, fee: number };
const SHAPE = {
  chain: text,
  chainId: number,
  rpc: text,
  roundLength: number,
  roundLockAmount: number,
  unlockPeriod: number,
  ticketValidityPeriod: number,
  unbondingPeriod: number,
  challengeWindow: number,
  noticePeriod: number,
  slashCooldown: number,
  numActiveTranscoders: number,
  minimumStake: number,
  inflation: number,
  inflationChange: number,
  targetBondingRate: number,
  initialSupply: number,
  slashing: flag,
  timelockDelay: number,
  proposers: [account("deployer")],
  executors: [account("deployer", "anyone")],
  cancellers: [account("deployer")],
  guardian: account("deployer", "nobody"),
  committeeRules: {
    drawDelay: number,
    commitBlocks: number,
    revealBlocks: number,
    size: number,
    quorum: number,
    seatStake: number,
    noShowPenalty: number,
    dissentPenalty: number,
  },
  services: [{ id: text, metadataURI: text, equivocation: { optional: TERMS }, committee: { optional: TERMS } }],
};

/** Everything that is wrong with `value`, each with the key it is about. */
function faults(value, shape, key) {
  if (shape.accepts) return shape.accepts(value) ? [] : [`${key} must be ${shape.what}`];
  if (shape.optional) return value === null ? [] : faults(value, shape.optional, key);
  if (Array.isArray(shape)) {
    if (!Array.isArray(value)) return [`${key} must be a list`];
    return value.flatMap((element, index) => faults(element, shape[0], `${key}[${index}]`));
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [`${key} must be an object`];
  const path = (name) => (key ? `${key}.${name}` : name);
  const unknown = Object.keys(value).filter((name) => !Object.hasOwn(shape, name));
  const missing = Object.keys(shape).filter((name) => !Object.hasOwn(value, name));
  return [
    ...unknown.map((name) => `unknown key ${path(name)}`),
    ...missing.map((name) => `missing key ${path(name)}`),
    ...Object.keys(shape).filter((name) => Object.hasOwn(value, name)).flatMap((name) => faults(value[name], shape[name], path(name))),
  ];
}

/** The configuration in `file`, and where it stands. */
function readConfig(file) {
  let config;
  try {
    config = JSON.parse(readFileSync(file, "utf8"));
  } catch (err) {
    throw new Usage(`cannot read ${file}: ${err.message}`);
  }
  const found = faults(config, SHAPE, "");
  if (found.length > 0) throw new Usage(`${file}:\n  ${found.join("\n  ")}`);
  if (config.proposers.length === 0) throw new Usage(`${file}: without proposers nobody could ever decide anything`);
  return { ...config, file };
}

/** The configuration of the chain of that name. */
function findConfig(chain) {
  const known = readdirSync(FOLDER).map((name) => readConfig(join(FOLDER, name)));
  const config = known.find((candidate) => candidate.chain === chain);
  if (!config) throw new Usage(`unknown chain ${chain}; known: ${known.map((candidate) => candidate.chain).join(", ")}`);
  return config;
}

module.exports = { Usage, findConfig, readConfig };
