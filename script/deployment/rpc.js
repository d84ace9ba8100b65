// Questions to the node.

async function ask(rpc, method, params) {
  let answer;
  try {
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
    const headers = { "content-type": "application/json" };
    const response = await fetch(rpc, { method: "POST", headers, body, signal: AbortSignal.timeout(30_000) });
    answer = await response.json();
  } catch (err) {
    throw new Error(`the node does not answer ${method}: ${err.cause?.message ?? err.message}`);
  }
  if (answer.error) throw new Error(`the node refuses ${method}: ${answer.error.message}`);
  return answer.result;
}

module.exports = { ask };
