//! How an orchestrator sets face value and win probability (payments.md §1.4).
use alloy_primitives::{I256, U256};
use streamflow_types::WinProb;

/// Face value when the gas price says nothing: this many times the expected value.
const FALLBACK_FACE_PER_EV: u64 = 100;
/// A face value below the present cost of redemption is still taken when it covers the cost at this price, wei per gas.
const USUAL_GAS_PRICE: u64 = 3_000_000_000;

/// What an orchestrator wants from each ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketPolicy {
    /// Expected value of one ticket, wei.
    pub ev: U256,
    /// Gas of one redemption.
    pub redeem_gas: u64,
    /// Face value aimed at, as a multiple of the cost of redemption: 100 makes redemption cost 1 %.
    pub tx_cost_multiplier: u64,
    /// Lowest gas price to reckon with, wei per gas. Keeps face values steady while the base fee falls.
    pub min_gas_price: u128,
    /// Highest face value, wei.
    pub max_face_value: Option<U256>,
    /// How many blocks the params stay valid.
    pub params_life_blocks: u64,
}

impl Default for TicketPolicy {
    fn default() -> Self {
        Self {
            ev: U256::from(8_000_000_000_u64),
            redeem_gas: 350_000,
            tx_cost_multiplier: 100,
            min_gas_price: 0,
            max_face_value: None,
            params_life_blocks: 40,
        }
    }
}

/// Face value and win probability of a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Wei paid if the ticket wins.
    pub face_value: U256,
    /// Chance to win; the expected value is at least the policy's.
    pub win_prob: WinProb,
}

impl Terms {
    /// Tickets for work that costs nothing.
    pub const FREE: Self = Self { face_value: U256::ZERO, win_prob: WinProb::ZERO };
}

/// Why no face value fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTerms {
    /// The sender's float is smaller than any ticket worth redeeming.
    #[error("a float of {needed} wei is needed")]
    Float {
        /// Wei.
        needed: U256,
    },
    /// Our own cap is, at this gas price.
    #[error("redemption takes a face value of {needed} wei, more than the maximum {max}")]
    Capped {
        /// Wei.
        needed: U256,
        /// Wei.
        max: U256,
    },
}

impl TicketPolicy {
    /// Wei that one redemption costs at `gas_price` wei per gas, or at the lowest price to reckon with.
    pub fn tx_cost(&self, gas_price: u128) -> U256 {
        U256::from(self.redeem_gas) * U256::from(gas_price.max(self.min_gas_price))
    }

    /// The smallest face value that is quoted, wei: it covers the expected value, and the cost of redemption at the present
    /// gas price or at the usual one.
    pub fn least_face_value(&self, gas_price: u128) -> U256 {
        let usual_cost = U256::from(self.redeem_gas) * U256::from(USUAL_GAS_PRICE);
        self.ev.max(self.tx_cost(gas_price).min(usual_cost))
    }

    /// Terms for a sender whose winning tickets are sure to be paid up to `max_float` wei.
    ///
    /// The face value is `tx_cost_multiplier` · `redeem_gas` · the gas price, so that redemption costs one part in
    /// `tx_cost_multiplier` of it; less if that is more than the float or the cap.
    pub fn terms(&self, gas_price: u128, max_float: I256) -> Result<Terms, NoTerms> {
        let tx_cost = self.tx_cost(gas_price);
        let mut face_value = tx_cost.saturating_mul(U256::from(self.tx_cost_multiplier));
        if face_value < self.ev {
            face_value = self.ev.saturating_mul(U256::from(FALLBACK_FACE_PER_EV));
        }
        face_value = face_value.min(U256::try_from(max_float).unwrap_or(U256::ZERO));
        if let Some(max) = self.max_face_value {
            face_value = face_value.min(max);
        }
        let needed = self.least_face_value(gas_price);
        match self.max_face_value {
            Some(max) if max < needed => Err(NoTerms::Capped { needed, max }),
            _ if face_value < needed => Err(NoTerms::Float { needed }),
            _ => Ok(Terms { face_value, win_prob: win_prob(face_value, self.ev) }),
        }
    }
}

/// The smallest multiple of `ev` that makes a ticket of `face_value` worth at least `ev`.
fn win_prob(face_value: U256, ev: U256) -> WinProb {
    if face_value.is_zero() {
        WinProb::ZERO
    } else if face_value == ev {
        WinProb::MAX
    } else {
        WinProb(U256::MAX.div_ceil(face_value).saturating_mul(ev))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::TicketEv;

    fn policy() -> TicketPolicy {
        TicketPolicy { ev: U256::from(5), redeem_gas: 10_000, ..TicketPolicy::default() }
    }

    fn terms(face_value: u64, win_prob: &str) -> Result<Terms, NoTerms> {
        Ok(Terms { face_value: U256::from(face_value), win_prob: WinProb(win_prob.parse().unwrap()) })
    }

    fn float(wei: i64) -> I256 {
        I256::try_from(wei).unwrap()
    }

    #[test]
    fn published_terms() {
        let policy = policy();
        assert_eq!(
            policy.terms(100, I256::MAX),
            terms(100_000_000, "5789604461865809771178549250434395392663499233282028201972879200395660")
        );
        assert_eq!(
            policy.terms(777, I256::MAX),
            terms(777_000_000, "745122839364969082519761808292714979750772102095499125093034646125570")
        );
        assert_eq!(
            policy.terms(1, float(10_001)),
            terms(10_001, "57890255593098787833002192285115442382396752657554526567072084795477017120")
        );
        assert_eq!(
            policy.terms(0, I256::MAX),
            terms(500, "1157920892373161954235709850086879078532699846656405640394575840079131296400")
        );
    }

    #[test]
    fn a_face_value_equal_to_the_expected_value_always_wins() {
        let expected = Terms { face_value: U256::from(5), win_prob: WinProb::MAX };
        assert_eq!(policy().terms(0, float(5)), Ok(expected));
    }

    #[test]
    fn a_float_below_the_expected_value_is_refused() {
        for max_float in [4, 0, -90] {
            assert_eq!(policy().terms(0, float(max_float)), Err(NoTerms::Float { needed: U256::from(5) }));
        }
    }

    #[test]
    fn a_face_value_below_both_costs_is_refused() {
        let usual = 10_000 * 3_000_000_000_i64;
        let dear = 3_000_000_001;
        assert_eq!(policy().terms(dear, float(usual - 1)), Err(NoTerms::Float { needed: U256::from(usual) }));
        // Below the present cost, but not below the usual one.
        assert!(policy().terms(dear, float(usual)).is_ok());
        // Below the usual cost, but not below the present one.
        assert!(policy().terms(1, float(10_000)).is_ok());
        assert_eq!(policy().terms(1, float(9_999)), Err(NoTerms::Float { needed: U256::from(10_000) }));
    }

    #[test]
    fn the_cap_holds() {
        let capped = TicketPolicy { max_face_value: Some(U256::from(20_000_000)), ..policy() };
        assert_eq!(capped.terms(100, I256::MAX).unwrap().face_value, U256::from(20_000_000));
        let refused = capped.terms(2001, I256::MAX);
        assert_eq!(refused, Err(NoTerms::Capped { needed: U256::from(20_010_000), max: U256::from(20_000_000) }));
    }

    #[test]
    fn a_falling_gas_price_stops_at_the_lowest_to_reckon_with() {
        let steady = TicketPolicy { min_gas_price: 100, ..policy() };
        assert_eq!(steady.terms(7, I256::MAX), policy().terms(100, I256::MAX));
        assert_eq!(steady.terms(777, I256::MAX), policy().terms(777, I256::MAX));
    }

    proptest! {
        #[test]
        fn a_ticket_is_worth_the_expected_value_and_hardly_more(
            ev in 1..u64::MAX, gas_price in 0..1_000_000_000_000_u128, reserve in 0..i64::MAX,
        ) {
            let policy = TicketPolicy { ev: U256::from(ev), ..TicketPolicy::default() };
            if let Ok(terms) = policy.terms(gas_price, float(reserve)) {
                let worth = TicketEv::new(terms.face_value, terms.win_prob);
                prop_assert!(worth >= TicketEv::from_wei(policy.ev));
                prop_assert!(worth.floor_wei() <= policy.ev);
                prop_assert!(terms.face_value <= U256::from(reserve));
            }
        }
    }
}
