//! EIP-1559 fees: what to offer first, and what to offer when blocks pass.
use crate::TxConfig;

/// Caps of one attempt, wei per gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fees {
    pub(crate) max_fee: u128,
    pub(crate) tip: u128,
}

/// What one transaction may offer at most: the smaller of the configured ceiling and its own, wei per gas.
pub(crate) fn ceiling(config: &TxConfig, own: Option<u128>) -> u128 {
    own.unwrap_or(u128::MAX).min(config.max_fee_per_gas.into())
}

/// First offer: `base_fee_percent` of the base fee plus the tip, at most the ceiling. `None` if the ceiling would not get
/// it mined now.
pub(crate) fn first_offer(config: &TxConfig, ceiling: u128, base_fee: u128) -> Option<Fees> {
    let tip = u128::from(config.priority_fee_per_gas);
    let needed = base_fee.saturating_add(tip).max(1);
    let wanted = percent_of(base_fee, config.base_fee_percent).saturating_add(tip).max(1);
    (needed <= ceiling).then(|| Fees { max_fee: wanted.min(ceiling), tip })
}

/// Both caps raised by `bump_percent`, and by at least one wei: nodes take a replacement only if both are higher.
/// A base fee that grew more than that is followed. `None` if the ceiling forbids it.
pub(crate) fn raised(config: &TxConfig, ceiling: u128, old: Fees, base_fee: u128) -> Option<Fees> {
    let raise = |fee: u128| percent_of(fee, config.bump_percent.saturating_add(100)).max(fee.saturating_add(1));
    let tip = raise(old.tip);
    let followed = percent_of(base_fee, config.base_fee_percent).saturating_add(tip);
    let least = raise(old.max_fee);
    (least <= ceiling).then(|| Fees { max_fee: least.max(followed.min(ceiling)).max(tip), tip })
}

/// Rounded up.
pub(crate) fn percent_of(amount: u128, percent: u32) -> u128 {
    let percent = u128::from(percent);
    (amount / 100).saturating_mul(percent).saturating_add((amount % 100 * percent).div_ceil(100))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config() -> TxConfig {
        TxConfig::default()
    }

    #[test]
    fn the_smaller_ceiling_counts() {
        let config = TxConfig { max_fee_per_gas: 1000, ..config() };
        assert_eq!([None, Some(999), Some(1001)].map(|own| ceiling(&config, own)), [1000, 999, 1000]);
    }

    #[test]
    fn first_offer_covers_a_doubled_base_fee_within_the_ceiling() {
        assert_eq!(first_offer(&config(), 1000, 100), Some(Fees { max_fee: 200, tip: 0 }));
        assert_eq!(first_offer(&config(), 150, 100), Some(Fees { max_fee: 150, tip: 0 }));
        assert_eq!(first_offer(&config(), 99, 100), None);
    }

    #[test]
    fn raise_follows_the_base_fee_and_stops_at_the_ceiling() {
        let old = Fees { max_fee: 200, tip: 0 };
        assert_eq!(raised(&config(), 1000, old, 100), Some(Fees { max_fee: 224, tip: 1 }));
        assert_eq!(raised(&config(), 1000, old, 300), Some(Fees { max_fee: 601, tip: 1 }));
        assert_eq!(raised(&config(), 223, old, 100), None);
    }

    proptest! {
        #[test]
        fn both_caps_always_grow_enough_to_replace(max_fee in 1u128..1 << 90, tip in 0u128..1 << 90, base in 0u128..1 << 90) {
            let old = Fees { max_fee, tip: tip.min(max_fee) };
            if let Some(new) = raised(&config(), u128::MAX, old, base) {
                for (new, old) in [(new.max_fee, old.max_fee), (new.tip, old.tip)] {
                    prop_assert!(new > old && new * 100 >= old * 112);
                }
                prop_assert!(new.max_fee >= new.tip);
            }
        }
    }
}
