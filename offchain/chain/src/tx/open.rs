//! A transaction under way, and what a node's answer to it means.
use std::time::{Duration, Instant};

use alloy::{
    consensus::{Transaction, TxEnvelope},
    eips::eip2718::Decodable2718,
    primitives::B256,
    transports::TransportError,
};

use super::{Reply, TxAttempt, TxOutcome, TxRecord, fees::Fees};

/// A record that is not closed, with what only this process knows of it.
#[derive(Debug)]
pub(super) struct OpenTx {
    pub(super) record: TxRecord,
    /// Who waits for the outcome.
    pub(super) waiting: Vec<Reply<TxOutcome>>,
    /// Block at which a node last took it; `None` makes it due again.
    pub(super) taken_at: Option<u64>,
    /// Block since which it is next in line.
    pub(super) first_since: Option<u64>,
    /// It was seen in a block.
    pub(super) mined: bool,
    /// Looks at the chain, in a row, that found its nonce used but none of its hashes.
    pub(super) absent: u32,
    /// That the fee ceiling holds it up was told.
    pub(super) ceiling_told: bool,
    /// When its newest form was made, as far as this process knows.
    pub(super) made: Instant,
    /// When a node was last given it.
    pub(super) given: Option<Instant>,
}

impl OpenTx {
    pub(super) fn new(record: TxRecord) -> Self {
        Self {
            record,
            waiting: Vec::new(),
            taken_at: None,
            first_since: None,
            mined: false,
            absent: 0,
            ceiling_told: false,
            made: Instant::now(),
            given: None,
        }
    }

    /// Whether its newest form is the empty transfer that gives it up.
    pub(super) fn is_given_up(&self) -> bool {
        self.newest().is_some_and(|attempt| gives_up(&self.record, attempt))
    }

    /// Whether the hash is that of a form that gives it up.
    pub(super) fn is_given_up_by(&self, hash: B256) -> bool {
        self.record.attempts.iter().any(|attempt| attempt.hash == hash && gives_up(&self.record, attempt))
    }

    /// Whether no node was given it for this long.
    pub(super) fn not_given_for(&self, pause: Duration) -> bool {
        self.given.is_none_or(|given| given.elapsed() >= pause)
    }

    pub(super) fn newest(&self) -> Option<&TxAttempt> {
        self.record.attempts.last()
    }

    pub(super) fn fees(&self) -> Option<Fees> {
        self.newest().map(|attempt| Fees { max_fee: attempt.max_fee_per_gas, tip: attempt.max_priority_fee_per_gas })
    }

    /// Blocks that passed while it was next in line with its present fees.
    pub(super) fn waited(&mut self, head: u64) -> u64 {
        let since = *self.first_since.get_or_insert(head);
        let signed_at = self.newest().map_or(0, |attempt| attempt.signed_at);
        head.saturating_sub(since.max(signed_at))
    }
}

/// Whether the form is an empty transfer to ourselves in place of what the record wants.
fn gives_up(record: &TxRecord, attempt: &TxAttempt) -> bool {
    let wants_nothing = record.to == record.from && record.data.is_empty() && record.value.is_zero();
    let sent = TxEnvelope::decode_2718(&mut attempt.raw.as_ref());
    !wants_nothing
        && sent.is_ok_and(|sent| sent.to() == Some(record.from) && sent.input().is_empty() && sent.value().is_zero())
}

/// Texts by which a node says that it has not taken a transaction and will not take it in this form. A text that is not
/// here says nothing of the kind: the node may have passed it on before it failed.
const REFUSALS: [&str; 19] = [
    "intrinsic gas too low",
    "intrinsic gas too high",
    "insufficient gas for floor data gas",
    "gas required exceeds allowance",
    "exceeds block gas limit",
    "transaction gas limit too high",
    "gas uint64 overflow",
    "exceeds the configured cap",
    "max priority fee per gas higher than max fee per gas",
    "invalid chain id",
    "invalid sender",
    "invalid transaction v, r, s values",
    "sender not an eoa",
    "transaction type not supported",
    "oversized data",
    "negative value",
    "nonce has max value",
    "failed to decode",
    "rlp: ",
];

/// What a node said to a transaction.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It has it.
    Taken,
    /// The nonce is used: by one of our hashes, or by a stranger.
    NonceUsed,
    /// Not now: the fee is too low for the pool or the base fee, or the pool is full.
    NotNow(String),
    /// The account cannot pay.
    Funds(String),
    /// Not in this form: it has not taken it.
    Refused(String),
    /// An error in words that are not known: it may have it or not.
    Unclear(String),
    /// No answer: it may have it or not.
    Unknown(TransportError),
}

impl Verdict {
    /// What several nodes said together: that one has it, then that one may have it, then why none has.
    pub(super) fn of_all(answers: Vec<Result<B256, TransportError>>) -> Self {
        let rank = |verdict: &Self| match verdict {
            Self::Taken => 0,
            Self::Unknown(_) => 1,
            Self::Unclear(_) => 2,
            Self::NotNow(_) => 3,
            Self::NonceUsed => 4,
            Self::Funds(_) => 5,
            Self::Refused(_) => 6,
        };
        let verdict = answers.into_iter().map(Self::of).min_by_key(rank);
        verdict.unwrap_or_else(|| Self::Unclear("no node was asked".to_owned()))
    }

    /// Nodes differ in wording; the texts are those of geth, nitro and anvil.
    pub(super) fn of(answer: Result<alloy::primitives::B256, TransportError>) -> Self {
        let message = match answer {
            Ok(_) => return Self::Taken,
            Err(TransportError::ErrorResp(payload)) => payload.message.into_owned(),
            Err(err) => return Self::Unknown(err),
        };
        let text = message.to_lowercase();
        let says = |texts: &[&str]| texts.iter().any(|part| text.contains(part));
        if says(&["already known", "already imported", "known transaction", "already exists"]) {
            Self::Taken
        } else if says(&["nonce too low"]) {
            Self::NonceUsed
        } else if says(&["insufficient funds", "insufficient balance"]) {
            Self::Funds(message)
        } else if says(&["underpriced", "less than block base fee", "txpool is full", "limit exceeded", "rate limit"]) {
            Self::NotNow(message)
        } else if says(&REFUSALS) {
            Self::Refused(message)
        } else {
            Self::Unclear(message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(message: &str) -> Verdict {
        let payload = serde_json::json!({ "code": -32000, "message": message });
        Verdict::of(Err(TransportError::ErrorResp(serde_json::from_value(payload).unwrap())))
    }

    #[test]
    fn answers_of_nodes_are_told_apart() {
        assert!(matches!(verdict("already known"), Verdict::Taken));
        assert!(matches!(verdict("transaction already imported"), Verdict::Taken));
        assert!(matches!(verdict("nonce too low: next nonce 5, tx nonce 4"), Verdict::NonceUsed));
        assert!(matches!(verdict("replacement transaction underpriced"), Verdict::NotNow(_)));
        assert!(matches!(verdict("max fee per gas less than block base fee"), Verdict::NotNow(_)));
        assert!(matches!(verdict("insufficient funds for gas * price + value"), Verdict::Funds(_)));
        assert!(matches!(verdict("Insufficient funds for gas * price + value"), Verdict::Funds(_)));
        assert!(matches!(verdict("intrinsic gas too low"), Verdict::Refused(_)));
        assert!(matches!(verdict("exceeds block gas limit"), Verdict::Refused(_)));
        assert!(matches!(verdict("Failed to decode transaction"), Verdict::Refused(_)));
    }

    #[test]
    fn one_node_that_may_have_it_outweighs_all_that_refuse() {
        let error = |message: &str| {
            let payload = serde_json::json!({ "code": -32000, "message": message });
            Err(TransportError::ErrorResp(serde_json::from_value(payload).unwrap()))
        };
        let all = |answers: Vec<Result<B256, TransportError>>| Verdict::of_all(answers);
        assert!(matches!(all(vec![error("invalid sender"), Ok(B256::ZERO)]), Verdict::Taken));
        assert!(matches!(all(vec![error("nonce too low"), Err(TransportError::NullResp)]), Verdict::Unknown(_)));
        assert!(matches!(all(vec![error("insufficient funds"), error("odd words")]), Verdict::Unclear(_)));
        assert!(matches!(all(vec![error("insufficient funds"), error("txpool is full")]), Verdict::NotNow(_)));
        assert!(matches!(all(vec![error("invalid sender"), error("nonce too low")]), Verdict::NonceUsed));
        assert!(matches!(all(vec![error("invalid sender"), error("invalid sender")]), Verdict::Refused(_)));
        assert!(matches!(all(Vec::new()), Verdict::Unclear(_)));
    }

    #[test]
    fn unknown_words_are_no_refusal() {
        for message in ["internal error", "context deadline exceeded", "nonce too high", "execution reverted", ""] {
            assert!(matches!(verdict(message), Verdict::Unclear(_)), "{message}");
        }
    }
}
