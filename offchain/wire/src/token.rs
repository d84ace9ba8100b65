//! Session tokens: an orchestrator's own proof that it opened a session (node.md §2.3).
use std::fmt;

use alloy_primitives::{U256, hex};
use hmac::{Hmac, Mac, digest::KeyInit};
use sha2::Sha256;

use crate::{WireError, number::minimal, proto};

/// How long a token is valid, seconds.
pub const TOKEN_LIFE_SECS: i64 = 30 * 60;
/// A token in the last tenth of its life should be renewed, seconds.
pub const TOKEN_RENEWAL_SECS: i64 = TOKEN_LIFE_SECS / 10;

/// Issues and checks tokens with one key.
#[derive(Clone)]
pub struct AuthTokens {
    key: [u8; 32],
}

impl fmt::Debug for AuthTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthTokens(..)")
    }
}

impl AuthTokens {
    /// Takes 32 random bytes. Tokens of another key are invalid.
    pub const fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// Opens a session named by random bytes, valid for [`TOKEN_LIFE_SECS`] from `now` (Unix seconds). Deployed nodes take four of
    /// them. Who knows the name may fetch what is made: sixteen cannot be guessed, nor met by collecting tokens.
    pub fn issue<const N: usize>(&self, session: [u8; N], now: i64) -> proto::AuthToken {
        const { assert!(N == 4 || N == 16, "names of another length are not taken") };
        let expiration = now.saturating_add(TOKEN_LIFE_SECS);
        let session_id = hex::encode(session);
        let token = self.mac(&session_id, expiration).finalize().into_bytes().to_vec();
        proto::AuthToken { token, session_id, expiration }
    }

    /// The session of a token of ours that is still valid at `now` (Unix seconds).
    pub fn check<'a>(&self, token: Option<&'a proto::AuthToken>, now: i64) -> Result<&'a str, WireError> {
        let token = token.ok_or(WireError::MissingAuthToken)?;
        let session = self.check_origin(token)?;
        if token.expiration <= now {
            Err(WireError::ExpiredAuthToken { expiration: token.expiration, now })
        } else {
            Ok(session)
        }
    }

    /// The same whether or not it has expired: enough to end a session.
    pub fn check_origin<'a>(&self, token: &'a proto::AuthToken) -> Result<&'a str, WireError> {
        let session = token.session_id.as_str();
        // The authenticated bytes do not mark where the name ends and the time begins. Two lengths do, that differ by more bytes than
        // a time has.
        let well_formed =
            matches!(session.len(), 8 | 32) && session.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let authentic = self.mac(session, token.expiration).verify_slice(&token.token).is_ok();
        if well_formed && token.expiration >= 0 && authentic { Ok(session) } else { Err(WireError::InvalidAuthToken) }
    }

    /// HMAC-SHA256 over the name and the minimal big-endian time.
    fn mac(&self, session_id: &str, expiration: i64) -> Hmac<Sha256> {
        // HMAC pads a short key with zeros to the block of 64 bytes.
        let mut block = [0; 64];
        block[..32].copy_from_slice(&self.key);
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
        mac.update(session_id.as_bytes());
        mac.update(&minimal(U256::from(expiration.unsigned_abs())));
        mac
    }
}

/// Whether a broadcaster should fetch a new token before it sends the next segment.
pub fn needs_renewal(token: &proto::AuthToken, now: i64) -> bool {
    token.expiration.saturating_sub(now) < TOKEN_RENEWAL_SECS
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000 - TOKEN_LIFE_SECS;

    fn issued() -> (AuthTokens, proto::AuthToken) {
        let tokens = AuthTokens::new([1; 32]);
        let token = tokens.issue([0xde, 0xad, 0xbe, 0xef], NOW);
        (tokens, token)
    }

    #[test]
    fn the_published_token_is_issued() {
        let (_, token) = issued();
        assert_eq!((token.session_id.as_str(), token.expiration), ("deadbeef", 1_700_000_000));
        assert_eq!(hex::encode(&token.token), "10c2a9066c53b3db08aeb38181d7b0de563eaaa0dfbb9aaebf0166c9edad53b3");
    }

    #[test]
    fn a_token_lives_for_half_an_hour() {
        let (tokens, token) = issued();
        assert_eq!(tokens.check(Some(&token), NOW).unwrap(), "deadbeef");
        assert_eq!(tokens.check(Some(&token), NOW + TOKEN_LIFE_SECS - 1).unwrap(), "deadbeef");
        let late = tokens.check(Some(&token), NOW + TOKEN_LIFE_SECS).unwrap_err();
        assert_eq!(late.to_string(), "expired auth token");
        assert_eq!(tokens.check_origin(&token).unwrap(), "deadbeef");
        assert_eq!(tokens.check(None, NOW).unwrap_err().to_string(), "missing auth token");
    }

    #[test]
    fn any_change_makes_it_invalid() {
        let (tokens, token) = issued();
        let changed = [
            proto::AuthToken { expiration: token.expiration + 1, ..token.clone() },
            proto::AuthToken { expiration: -token.expiration, ..token.clone() },
            proto::AuthToken { session_id: "deadbeee".into(), ..token.clone() },
            proto::AuthToken { token: token.token[..31].to_vec(), ..token.clone() },
            proto::AuthToken { token: Vec::new(), ..token.clone() },
        ];
        for token in changed {
            assert_eq!(tokens.check(Some(&token), NOW).unwrap_err().to_string(), "invalid auth token");
        }
        assert!(AuthTokens::new([2; 32]).check(Some(&token), NOW).is_err());
    }

    #[test]
    fn the_border_between_name_and_time_cannot_be_moved() {
        let (tokens, token) = issued();
        // "deadbee" ‖ 'f' ‖ time has the same bytes as "deadbeef" ‖ time.
        let forged = proto::AuthToken {
            session_id: "deadbee".into(),
            expiration: (i64::from(b'f') << 32) | token.expiration,
            token: token.token,
        };
        assert!(tokens.mac("deadbee", forged.expiration).verify_slice(&forged.token).is_ok());
        assert!(tokens.check(Some(&forged), NOW).is_err());
    }

    #[test]
    fn names_of_sixteen_bytes_are_taken_and_not_mistaken_for_those_of_four() {
        let (tokens, short) = issued();
        let long = tokens.issue([0xab; 16], NOW);
        assert_eq!(tokens.check(Some(&long), NOW).unwrap(), "ab".repeat(16));
        for length in [0, 7, 9, 16, 31, 33, 64] {
            let token = tokens.mac(&"a".repeat(length), short.expiration).finalize().into_bytes().to_vec();
            let other = proto::AuthToken { session_id: "a".repeat(length), token, ..short.clone() };
            assert!(tokens.check(Some(&other), NOW).is_err(), "{length}");
        }
        // The first digits as a name, as many of the rest as a time has.
        let forged = proto::AuthToken {
            session_id: long.session_id[..8].to_owned(),
            expiration: i64::from_be_bytes(long.session_id.as_bytes()[8..16].try_into().unwrap()),
            ..long
        };
        assert!(tokens.check_origin(&forged).is_err());
    }

    #[test]
    fn the_last_tenth_asks_for_renewal() {
        let (_, token) = issued();
        assert!(!needs_renewal(&token, NOW + TOKEN_LIFE_SECS - TOKEN_RENEWAL_SECS));
        assert!(needs_renewal(&token, NOW + TOKEN_LIFE_SECS - TOKEN_RENEWAL_SECS + 1));
    }
}
