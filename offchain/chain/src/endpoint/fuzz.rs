//! Damaged answers of nodes: whatever is said of them is said by returning.
use std::{sync::atomic::AtomicBool, time::Duration};

use alloy::{
    consensus::Header,
    primitives::{Address, B256, Bytes, LogData},
    rpc::types::{Filter, Log, TransactionReceipt},
    sol_types::{Revert as RevertString, SolError as _},
};
use proptest::prelude::*;
use serde_json::{Value, json};
use streamflow_fuzz::{damaged, damaged_text};

use super::{
    Fault,
    agreement::{essence, is_blank},
    client::{judged, payload, request},
    header,
    proof::{self, AnyReceipt},
};
use crate::{profile::ContractNumber, revert::Revert};

/// What errors quote of an answer, and what stands around it.
const MAX_TOLD: usize = 4096;
const METHODS: [&str; 5] =
    ["eth_getBlockByNumber", "eth_getLogs", "eth_getTransactionReceipt", "eth_getTransactionByHash", "eth_call"];

fn block() -> Value {
    let header = Header { number: 7, timestamp: 9, base_fee_per_gas: Some(5), ..Header::default() };
    let mut block = serde_json::to_value(&header).unwrap();
    block["hash"] = serde_json::to_value(header.hash_slow()).unwrap();
    block["size"] = "0x1".into();
    block["l1BlockNumber"] = "0x64".into();
    block["transactions"] = Value::Array(Vec::new());
    block
}

fn log() -> Log {
    let data = LogData::new_unchecked(vec![B256::repeat_byte(5)], Bytes::from_static(b"data"));
    let inner = alloy::primitives::Log { address: Address::repeat_byte(1), data };
    Log { inner, block_hash: Some(B256::repeat_byte(9)), block_number: Some(7), log_index: Some(0), ..Log::default() }
}

fn receipts() -> Value {
    let receipt = |kind: &str| {
        json!({
            "transactionHash": B256::repeat_byte(2), "transactionIndex": "0x0", "blockHash": B256::repeat_byte(9),
            "blockNumber": "0x7", "from": Address::repeat_byte(3), "to": null, "contractAddress": null, "type": kind,
            "status": "0x1", "cumulativeGasUsed": "0x5208", "gasUsed": "0x5208", "effectiveGasPrice": "0x1",
            "logsBloom": format!("0x{}", "0".repeat(512)), "logs": [log()],
        })
    };
    json!([receipt("0x0"), receipt("0x2"), receipt("0x6a")])
}

/// What a node answers to all that it is asked.
fn results() -> Vec<Value> {
    vec![block(), json!([log()]), receipts()[1].clone(), receipts(), json!("0x7a69"), Value::Null]
}

fn texts(values: &[Value]) -> Vec<Vec<u8>> {
    values.iter().map(|value| value.to_string().into_bytes()).collect()
}

fn answers() -> Vec<Vec<u8>> {
    let errors = [
        json!({ "code": -32005, "message": "rate limit exceeded" }),
        json!({ "code": 3, "message": "execution reverted", "data": "0x08c379a0" }),
    ];
    let good = results().into_iter().map(|result| json!({ "jsonrpc": "2.0", "id": 0, "result": result }));
    let bad = errors.into_iter().map(|error| json!({ "jsonrpc": "2.0", "id": 0, "error": error }));
    texts(&good.chain(bad).collect::<Vec<_>>())
}

fn reverts() -> Vec<Vec<u8>> {
    vec![RevertString::from("ticket is used").abi_encode(), vec![0x4e, 0x48, 0x7b, 0x71], vec![1, 2, 3, 4, 5]]
}

proptest! {
    #![proptest_config(streamflow_fuzz::config(256))]

    #[test]
    fn answers_of_nodes(
        body in damaged(answers()), status in prop::sample::select(vec![200, 200, 200, 400, 429, 503]), pause: Option<u64>,
        method in prop::sample::select(METHODS.to_vec()),
    ) {
        match judged(status, pause.map(Duration::from_secs), &body) {
            Ok(answer) => {
                let request = request(method, ("latest", false)).unwrap();
                let _ = (is_blank(&request, &answer), essence(&request, &answer));
                let told = payload(answer).map_or_else(|error| error.to_string().len(), |result| result.get().len());
                prop_assert!(told <= body.len() + MAX_TOLD);
            }
            Err(failure) => {
                prop_assert!(failure.error.to_string().len() <= MAX_TOLD, "{}", failure.error);
                prop_assert!(failure.fault.to_string().len() <= MAX_TOLD);
            }
        }
    }

    #[test]
    fn headers_of_blocks(text in damaged_text(&[&block().to_string()]), verify: bool) {
        for number in [ContractNumber::Own, ContractNumber::L1, ContractNumber::L1IfTold] {
            match header::read(&text, number, verify) {
                Ok(Some(checked)) => prop_assert!(verify || checked.commitment.is_none()),
                Ok(None) => {}
                Err(fault) => {
                    let is_judged = matches!(fault, Fault::FalseHeader { .. });
                    prop_assert!(verify || !is_judged);
                }
            }
        }
    }

    #[test]
    fn logs_and_receipts(
        logs in damaged(texts(&[json!([log()])])), receipts in damaged(texts(&[receipts()])),
        receipt in damaged(texts(&[receipts()[1].clone()])),
    ) {
        let header = header::read(&block().to_string(), ContractNumber::Own, true).unwrap().unwrap();
        let (block, filter) = (header.commitment.unwrap(), Filter::new().address(Address::repeat_byte(1)));
        let logs = serde_json::from_slice::<Vec<Log>>(&logs).unwrap_or_default();
        prop_assert!(logs.is_empty() || !proof::may_be_of_block(&logs, &filter, &block), "the bloom has none");
        prop_assert!(!proof::may_miss_some(&logs, &filter, &block));
        if let Ok(receipts) = serde_json::from_slice::<Vec<AnyReceipt>>(&receipts) {
            let judged = proof::judge(&receipts, &block, &AtomicBool::new(true));
            prop_assert_eq!(judged, proof::Verdict::False, "of a block that has none");
            if let Ok(receipt) = serde_json::from_slice::<TransactionReceipt>(&receipt) {
                let _ = receipts.iter().filter(|other| other.is(&receipt)).count();
            }
            let _ = proof::same_logs(&proof::logs_of(receipts, &filter), &logs);
        }
    }

    #[test]
    fn reasons_of_contracts(data in damaged(reverts())) {
        let told = Revert::new(data.into()).to_string();
        prop_assert!(told.len() <= 600 && !told.contains(char::is_control), "{:?}", told);
    }
}
