//! Whether two nodes say the same.
use alloy_json_rpc::{RequestPacket, ResponsePacket, ResponsePayload};
use serde_json::{Value, json};

/// EIP-1474.
const RESOURCE_NOT_FOUND: i64 = -32001;

/// What an answer comes to; `None` if it is none, such as that of a node that does not have the block.
pub(super) fn essence(request: &RequestPacket, answer: &ResponsePacket) -> Option<Value> {
    let method = request.as_single()?.method();
    match &answer.as_single()?.payload {
        ResponsePayload::Success(value) => {
            let value: Value = serde_json::from_str(value.get()).ok()?;
            Some(match method {
                "eth_getBlockByNumber" | "eth_getBlockByHash" => value["hash"].clone(),
                "eth_getTransactionReceipt" if !value.is_null() => {
                    let logs = value["logs"].as_array()?.iter().map(log).collect::<Vec<_>>();
                    lowered(json!([value["blockHash"], value["transactionHash"], value["status"], logs]))
                }
                "eth_getTransactionByHash" => lowered(json!([value["blockHash"], value["hash"]])),
                "eth_getLogs" => lowered(Value::Array(value.as_array()?.iter().map(log).collect())),
                _ => lowered(value),
            })
        }
        // A refusal by the contract is an answer; any other error is the node's own trouble.
        ResponsePayload::Failure(error) => match error.as_revert_data() {
            Some(data) => Some(json!({ "revert": data })),
            None => (error.code == 3 || error.message.contains("execution reverted")).then(|| json!({ "revert": "" })),
        },
    }
}

fn log(log: &Value) -> Value {
    json!([log["blockHash"], log["transactionHash"], log["address"], log["topics"], log["data"]])
}

/// Nodes differ in the case of hexadecimal digits.
fn lowered(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.to_lowercase()),
        Value::Array(items) => Value::Array(items.into_iter().map(lowered).collect()),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, lowered(value))).collect())
        }
        value => value,
    }
}

/// Whether the node says that it does not have what it was asked for; another may.
pub(super) fn is_blank(request: &RequestPacket, answer: &ResponsePacket) -> bool {
    let (Some(request), Some(answer)) = (request.as_single(), answer.as_single()) else { return false };
    match &answer.payload {
        ResponsePayload::Success(value) => {
            value.get() == "null"
                && ["eth_getBlockByHash", "eth_getTransactionReceipt", "eth_getTransactionByHash"]
                    .contains(&request.method())
        }
        ResponsePayload::Failure(error) => {
            let text = error.message.to_lowercase();
            error.code == RESOURCE_NOT_FOUND
                || [
                    "header not found",
                    "unknown block",
                    "block not found",
                    "missing trie node",
                    "header for hash not found",
                ]
                .iter()
                .any(|part| text.contains(part))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::request;
    use super::*;

    fn said(method: &'static str, answer: Value) -> (Option<Value>, bool) {
        let request = request(method, ("0x1",)).unwrap();
        let answer: ResponsePacket = serde_json::from_value(answer).unwrap();
        (essence(&request, &answer), is_blank(&request, &answer))
    }

    fn result(method: &'static str, result: Value) -> (Option<Value>, bool) {
        said(method, json!({ "jsonrpc": "2.0", "id": 1, "result": result }))
    }

    fn error(code: i64, message: &str) -> (Option<Value>, bool) {
        said("eth_call", json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": code, "message": message } }))
    }

    #[test]
    fn answers_agree_in_substance_not_in_form() {
        assert_eq!(result("eth_call", "0xAB".into()), result("eth_call", "0xab".into()));
        assert_ne!(result("eth_call", "0xab".into()), result("eth_call", "0xac".into()));
        let receipt = |status: &str, extra: u64| {
            let logs = json!([{ "address": "0x1", "topics": [], "data": "0x", "blockTimestamp": extra }]);
            let receipt = json!({ "blockHash": "0xA", "transactionHash": "0xb", "status": status, "logs": logs });
            result("eth_getTransactionReceipt", receipt)
        };
        assert_eq!(receipt("0x1", 1), receipt("0x1", 2));
        assert_ne!(receipt("0x1", 1), receipt("0x0", 1));
        assert_eq!(result("eth_getTransactionReceipt", Value::Null), (Some(Value::Null), true));
    }

    #[test]
    fn a_revert_is_an_answer_and_a_missing_block_is_none() {
        assert_eq!(error(3, "execution reverted"), (Some(json!({ "revert": "" })), false));
        assert_eq!(error(-32000, "header not found"), (None, true));
        assert_eq!(error(-32603, "internal error"), (None, false));
        assert_eq!(result("eth_call", Value::Null), (Some(Value::Null), false));
    }
}
