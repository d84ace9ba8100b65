//! What a session is: it travels with the client, signed (payments.md §2.3). Names and types are those of go-livepeer, so
//! that its signers and ours may share a key behind one balancer.
use std::time::{Duration, SystemTime};

use alloy_primitives::{Address, B256, eip191_hash_message};
use serde::{Deserialize, Serialize};
use streamflow_pm::{Balance, SignError, TicketSigner, recover_signer};
use streamflow_types::{Price, Signature65};

/// A session, as of its last request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SessionState {
    pub(crate) id: String,
    /// Commitment of the params of the last tickets; none before the first.
    pub(crate) pm_session: Option<B256>,
    /// Time since 1970 of the last request.
    pub(crate) last_update: Duration,
    pub(crate) orchestrator: Address,
    pub(crate) app: String,
    /// Unix seconds until which the webhook need not be asked; 0: always ask.
    pub(crate) auth_expiry: i64,
    /// Number of the last ticket under `pm_session`.
    pub(crate) sender_nonce: u32,
    /// What the orchestrator holds beyond the fees so far, in the terms of `initial_price`.
    pub(crate) balance: Balance,
    pub(crate) initial_price: Price,
    pub(crate) job: String,
    /// Payments so far, less one.
    pub(crate) sequence: u64,
    pub(crate) auth_id: String,
}

/// Why a state is not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StateError {
    #[error("invalid sig")]
    Signature,
    #[error("invalid state")]
    Malformed,
    #[error("invalid initial price in state")]
    InitialPrice,
}

/// A state as it travels: the bytes that are signed, and the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignedState {
    pub(crate) state: Vec<u8>,
    pub(crate) sig: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Blob {
    #[serde(rename = "StateID")]
    state_id: String,
    #[serde(rename = "PMSessionID")]
    pm_session_id: String,
    last_update: String,
    orchestrator_address: Address,
    #[serde(default)]
    app: String,
    #[serde(default)]
    auth_expiry: i64,
    sender_nonce: u32,
    balance: String,
    initial_price_per_unit: i64,
    initial_pixels_per_unit: i64,
    #[serde(rename = "Type", default)]
    job: String,
    sequence_number: u64,
    #[serde(rename = "AuthID", default)]
    auth_id: String,
}

impl SessionState {
    /// The state as JSON.
    pub(crate) fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Blob {
            state_id: self.id.clone(),
            pm_session_id: self.pm_session.map(|hash| hash.to_string()).unwrap_or_default(),
            last_update: to_rfc3339(self.last_update),
            orchestrator_address: self.orchestrator,
            app: self.app.clone(),
            auth_expiry: self.auth_expiry,
            sender_nonce: self.sender_nonce,
            balance: self.balance.to_ratio(),
            initial_price_per_unit: self.initial_price.wei_per_unit().cast_signed(),
            initial_pixels_per_unit: self.initial_price.pixels_per_unit().cast_signed(),
            job: self.job.clone(),
            sequence_number: self.sequence,
            auth_id: self.auth_id.clone(),
        })
    }

    fn from_json(json: &[u8]) -> Result<Self, StateError> {
        let blob: Blob = serde_json::from_slice(json).map_err(|_| StateError::Malformed)?;
        let term = |n: i64| u64::try_from(n).ok().filter(|n| *n > 0).ok_or(StateError::InitialPrice);
        let (wei, pixels) = (term(blob.initial_price_per_unit)?, term(blob.initial_pixels_per_unit)?);
        let initial_price = Price::new(wei, pixels).map_err(|_| StateError::InitialPrice)?;
        let pm_session = match blob.pm_session_id.as_str() {
            "" => None,
            hex => Some(hex.parse().map_err(|_| StateError::Malformed)?),
        };
        Ok(Self {
            id: blob.state_id,
            pm_session,
            last_update: from_rfc3339(&blob.last_update).ok_or(StateError::Malformed)?,
            orchestrator: blob.orchestrator_address,
            app: blob.app,
            auth_expiry: blob.auth_expiry,
            sender_nonce: blob.sender_nonce,
            balance: Balance::from_ratio(&blob.balance, initial_price).map_err(|_| StateError::Malformed)?,
            initial_price,
            job: blob.job,
            sequence: blob.sequence_number,
            auth_id: blob.auth_id,
        })
    }
}

/// Signs a state's JSON.
pub(crate) fn sign(json: String, signer: &dyn TicketSigner) -> Result<SignedState, SignError> {
    let state = json.into_bytes();
    let sig: Signature65 = signer.sign_hash(eip191_hash_message(&state))?;
    Ok(SignedState { state, sig: sig.as_bytes().to_vec() })
}

/// Reads a state that `account` signed.
pub(crate) fn verify(signed: &SignedState, account: Address) -> Result<SessionState, StateError> {
    match recover_signer(eip191_hash_message(&signed.state), &signed.sig) {
        Ok(signer) if signer == account => SessionState::from_json(&signed.state),
        _ => Err(StateError::Signature),
    }
}

/// With nanoseconds, in UTC.
pub(crate) fn to_rfc3339(since_epoch: Duration) -> String {
    // Beyond the year 9999 there is no such text.
    let time = SystemTime::UNIX_EPOCH + since_epoch.min(Duration::from_secs(253_402_300_799));
    humantime::format_rfc3339_nanos(time).to_string()
}

/// In UTC or with an offset; none before 1970.
fn from_rfc3339(text: &str) -> Option<Duration> {
    let since_epoch = |utc: &str| humantime::parse_rfc3339(utc).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok();
    if text.ends_with('Z') {
        return since_epoch(text);
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let (hours, minutes) = offset.strip_prefix(['+', '-'])?.split_once(':')?;
    let (hours, minutes): (u64, u64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let offset_secs = Duration::from_secs(hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?);
    let local = since_epoch(&format!("{local}Z"))?;
    if offset.starts_with('+') { local.checked_sub(offset_secs) } else { local.checked_add(offset_secs) }
}

#[cfg(test)]
mod tests {
    use streamflow_pm::KeySigner;

    use super::*;

    fn state() -> SessionState {
        let initial_price = Price::new(150, 175).unwrap();
        SessionState {
            id: "0123456789abcdef".into(),
            pm_session: Some(B256::repeat_byte(5)),
            last_update: Duration::new(1_700_000_000, 123_456_789),
            orchestrator: Address::repeat_byte(0xab),
            app: "app".into(),
            auth_expiry: 9,
            sender_nonce: 25,
            balance: Balance::from_ratio("125/7", initial_price).unwrap(),
            initial_price,
            job: "lv2v".into(),
            sequence: 3,
            auth_id: "client".into(),
        }
    }

    #[test]
    fn the_blob_has_the_names_and_types_of_go() {
        let expected = concat!(
            r#"{"StateID":"0123456789abcdef","#,
            r#""PMSessionID":"0x0505050505050505050505050505050505050505050505050505050505050505","#,
            r#""LastUpdate":"2023-11-14T22:13:20.123456789Z","#,
            r#""OrchestratorAddress":"0xabababababababababababababababababababab","App":"app","AuthExpiry":9,"#,
            r#""SenderNonce":25,"Balance":"125/7","InitialPricePerUnit":150,"InitialPixelsPerUnit":175,"#,
            r#""Type":"lv2v","SequenceNumber":3,"AuthID":"client"}"#,
        );
        assert_eq!(state().to_json().unwrap(), expected);
        assert_eq!(SessionState::from_json(expected.as_bytes()), Ok(state()));
    }

    #[test]
    fn times_of_go_are_read_with_their_offset() {
        let utc = from_rfc3339("2023-11-14T22:13:20.5Z").unwrap();
        assert_eq!(utc, Duration::from_millis(1_700_000_000_500));
        assert_eq!(from_rfc3339("2023-11-15T00:13:20.5+02:00"), Some(utc));
        assert_eq!(from_rfc3339("2023-11-14T16:43:20.5-05:30"), Some(utc));
        for odd in ["", "now", "0001-01-01T00:00:00Z", "2023-11-14T22:13:20", "ä2:00"] {
            assert_eq!(from_rfc3339(odd), None, "{odd}");
        }
    }

    #[test]
    fn only_our_own_unchanged_bytes_are_a_state() {
        let (ours, other) = (KeySigner::from_bytes([1; 32]).unwrap(), KeySigner::from_bytes([2; 32]).unwrap());
        let signed = sign(state().to_json().unwrap(), &ours).unwrap();
        assert_eq!(verify(&signed, ours.address()), Ok(state()));
        assert_eq!(verify(&signed, other.address()), Err(StateError::Signature));
        let mut changed = signed.clone();
        changed.state[20] ^= 1;
        assert_eq!(verify(&changed, ours.address()), Err(StateError::Signature));
        let nonsense = sign("{}".into(), &ours).unwrap();
        assert_eq!(verify(&nonsense, ours.address()), Err(StateError::Malformed));
    }

    #[test]
    fn a_state_without_a_price_is_told_apart() {
        let json = state().to_json().unwrap();
        let free = json.replace("\"InitialPricePerUnit\":150", "\"InitialPricePerUnit\":0");
        assert_eq!(SessionState::from_json(free.as_bytes()), Err(StateError::InitialPrice));
        let odd = json.replace("125/7", "1/11");
        assert_eq!(SessionState::from_json(odd.as_bytes()), Err(StateError::Malformed));
    }
}
