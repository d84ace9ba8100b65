// Watches a page in headless Chromium: node watch.mjs <url> <seconds> <profile directory>. Prints one line of JSON:
// how long the first <video> played, how often it stalled after it had begun, and what the page complained about.
import { spawn } from "node:child_process";

const [url, seconds, profile] = process.argv.slice(2);
const START_MS = 25_000;

// Runs in the page before its own code.
function instrument() {
  window.watched = { began: 0, stalls: 0, errors: [] };
  const on = (name, act) => document.addEventListener(name, act, true);
  on("playing", () => (window.watched.began ||= performance.now()));
  on("waiting", ({ target }) => {
    if (window.watched.began && !target.seeking) window.watched.stalls += 1;
  });
  on("error", ({ target }) => window.watched.errors.push(String(target.error?.message ?? target.src ?? target)));
  on("canplay", ({ target }) => target.paused && target.play().catch((cause) => window.watched.errors.push(String(cause))));
}

const browser = spawn(
  "chromium",
  [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio", "--no-first-run", "--disable-extensions",
    "--disable-dev-shm-usage", "--autoplay-policy=no-user-gesture-required", `--user-data-dir=${profile}`,
    "--remote-debugging-pipe", "about:blank",
  ],
  { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"], detached: true },
);
const end = () => {
  try {
    process.kill(-browser.pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
};
process.on("exit", end);
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => process.exit(1));
const [input, output] = [browser.stdio[3], browser.stdio[4]];

let number = 0;
let rest = "";
const waiting = new Map();
output.setEncoding("utf8").on("data", (text) => {
  const messages = (rest + text).split("\0");
  rest = messages.pop();
  for (const message of messages.map((each) => JSON.parse(each))) {
    waiting.get(message.id)?.(message);
    waiting.delete(message.id);
  }
});

function call(method, params = {}, sessionId = undefined) {
  number += 1;
  input.write(`${JSON.stringify({ id: number, method, params, sessionId })}\0`);
  return new Promise((resolve, reject) => {
    waiting.set(number, ({ error, result }) => (error ? reject(new Error(`${method}: ${error.message}`)) : resolve(result)));
  });
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const { targetId } = await call("Target.createTarget", { url: "about:blank" });
const { sessionId } = await call("Target.attachToTarget", { targetId, flatten: true });
const page = (method, params) => call(method, params, sessionId);
const evaluate = async (expression) => {
  const { result } = await page("Runtime.evaluate", { expression, returnByValue: true });
  return result.value;
};
await page("Page.enable");
await page("Page.addScriptToEvaluateOnNewDocument", { source: `(${instrument})()` });
await page("Page.navigate", { url });
const started = Date.now();
while (!(await evaluate("window.watched?.began ?? 0")) && Date.now() - started < START_MS) await pause(100);
const at = () => evaluate("document.querySelector('video')?.currentTime ?? 0");
const before = await at();
await pause(Number(seconds) * 1000);
const played = (await at()) - before;
const { began, stalls, errors } = await evaluate("window.watched");
const height = await evaluate("document.querySelector('video')?.videoHeight ?? 0");
console.log(JSON.stringify({ began: began > 0, played, stalls, height, errors }));
process.exit(0);
