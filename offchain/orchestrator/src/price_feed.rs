//! The price in another currency: wei by a feed that is not believed blindly.
use std::time::Duration;

use alloy_primitives::{Address, I256, U256};
use serde::{Deserialize, Serialize};
use streamflow_types::Price;

/// A feed has at most so many decimals.
const MAX_DECIMALS: u8 = 36;
/// Clocks may differ by so much.
const MAX_AHEAD_SECS: u64 = 300;
/// Wei in an ether, over the millionths that prices are set in.
const WEI_PER_MICRO: u64 = 1_000_000_000_000;

/// Asks a contract what an ether is worth, and sets the price by that.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PriceFeedConfig {
    /// Contract with `latestRoundData` and `decimals`, which tells what one ether is worth. Unset: the price is `price`.
    pub contract: Option<Address>,
    /// Asked for `pixels` pixels, in millionths of the feed's currency.
    pub micros: u64,
    /// Pixels that `micros` are asked for.
    pub pixels: u64,
    /// No lower price is asked, whatever the feed tells.
    pub min: Price,
    /// No higher price is asked, whatever the feed tells.
    pub max: Price,
    /// Percent by which the price may change at once. A larger change is believed when the feed's next round confirms it.
    pub max_change_percent: u32,
    /// What the feed was told longer ago is not believed.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// Time between two looks.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
}

impl Default for PriceFeedConfig {
    fn default() -> Self {
        Self {
            contract: None,
            micros: 50,
            pixels: 1_000_000_000,
            min: Price::new(1, 1_000).unwrap_or(Price::FREE),
            max: Price::new(1_000_000, 1).unwrap_or(Price::FREE),
            max_change_percent: 20,
            max_age: Duration::from_secs(25 * 3600),
            interval: Duration::from_secs(60),
        }
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceFeedError {
    /// Work would be free, or never priced.
    #[error("price_feed.{0} must be more than 0")]
    Zero(&'static str),
    /// No price lies between them.
    #[error("price_feed.min is more than price_feed.max")]
    Order,
}

impl PriceFeedConfig {
    pub(crate) fn validate(&self) -> Result<(), PriceFeedError> {
        let values = [
            ("micros", self.micros == 0),
            ("pixels", self.pixels == 0),
            ("min", self.min.is_free()),
            ("max_change_percent", self.max_change_percent == 0),
            ("max_age", self.max_age.is_zero()),
            ("interval", self.interval.is_zero()),
        ];
        if let Some((name, _)) = values.iter().find(|(_, is_zero)| *is_zero) {
            return Err(PriceFeedError::Zero(name));
        }
        if self.min > self.max { Err(PriceFeedError::Order) } else { Ok(()) }
    }
}

/// What the contract said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Number of its round.
    pub round: U256,
    /// What an ether is worth, times ten to the `decimals`.
    pub answer: I256,
    /// Of the answer.
    pub decimals: u8,
    /// When it was told, Unix seconds.
    pub updated_at: u64,
}

/// Why a reading is not believed; the last good price stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbelievable {
    /// No worth.
    #[error("the feed tells {0}, which is no worth of an ether")]
    Answer(I256),
    /// No number of this world.
    #[error("the feed has {0} decimals, at most {MAX_DECIMALS} are read")]
    Decimals(u8),
    /// Too old.
    #[error("the feed was told {age_s} s ago, orchestrator.price_feed.max_age is {max_s} s")]
    Stale {
        /// Of the reading.
        age_s: u64,
        /// As set.
        max_s: u64,
    },
    /// Told in a time to come: it would never grow old.
    #[error(
        "the feed was told {ahead_s} s from now, at most {MAX_AHEAD_SECS} s are taken for a clock that is off: look at this machine's \
         clock, and at orchestrator.price_feed.contract"
    )]
    Ahead {
        /// Until then.
        ahead_s: u64,
    },
    /// Not between the operator's bounds.
    #[error("the feed makes {price} wei per pixel, orchestrator.price_feed allows {min} to {max}")]
    OutOfBounds {
        /// By the feed.
        price: Price,
        /// As set.
        min: Price,
        /// As set.
        max: Price,
    },
    /// Larger than any that can be asked.
    #[error("the feed makes a price that cannot be written: set orchestrator.price_feed.micros and .pixels lower")]
    TooLarge,
    /// A large change that is not confirmed yet.
    #[error(
        "the feed changes the price from {last} to {price} wei per pixel, orchestrator.price_feed.max_change_percent is \
         {max_percent}: it is taken when the next round confirms it"
    )]
    Jump {
        /// In force.
        last: Price,
        /// By the feed.
        price: Price,
        /// As set.
        max_percent: u32,
    },
}

/// Turns readings into prices.
#[derive(Clone, Debug)]
pub struct PriceFeed {
    config: PriceFeedConfig,
    last: Option<Price>,
    /// A large change, and the round that told it.
    jump: Option<(U256, Price)>,
}

impl PriceFeed {
    /// Nothing is believed yet.
    pub fn new(config: PriceFeedConfig) -> Self {
        Self { config, last: None, jump: None }
    }

    /// The price by this reading at `now`, Unix seconds.
    ///
    /// # Errors
    /// Says why it is not believed.
    pub fn take(&mut self, reading: &Reading, now: u64) -> Result<Price, Unbelievable> {
        let ahead_s = reading.updated_at.saturating_sub(now);
        if ahead_s > MAX_AHEAD_SECS {
            return Err(Unbelievable::Ahead { ahead_s });
        }
        let (age_s, max_s) = (now.saturating_sub(reading.updated_at), self.config.max_age.as_secs());
        if age_s > max_s {
            return Err(Unbelievable::Stale { age_s, max_s });
        }
        let price = self.price(reading)?;
        let (min, max) = (self.config.min, self.config.max);
        if price < min || price > max {
            return Err(Unbelievable::OutOfBounds { price, min, max });
        }
        if let Some(last) = self.last.filter(|last| !self.is_near(*last, price)) {
            let confirmed = self.jump.is_some_and(|(round, jump)| round != reading.round && self.is_near(jump, price));
            if !confirmed {
                // The same round again confirms nothing, and must not make the first one forgotten.
                if self.jump.is_none_or(|(round, _)| round != reading.round) {
                    self.jump = Some((reading.round, price));
                }
                let max_percent = self.config.max_change_percent;
                return Err(Unbelievable::Jump { last, price, max_percent });
            }
        }
        self.jump = None;
        self.last = Some(price);
        Ok(price)
    }

    /// Rounded up to a whole wei for all the pixels that the price is set for.
    fn price(&self, reading: &Reading) -> Result<Price, Unbelievable> {
        let answer = U256::try_from(reading.answer).ok().filter(|answer| !answer.is_zero());
        let answer = answer.ok_or(Unbelievable::Answer(reading.answer))?;
        if reading.decimals > MAX_DECIMALS {
            return Err(Unbelievable::Decimals(reading.decimals));
        }
        // At most 2^64 · 2^40 · 10^36 < 2^224.
        let micros = U256::from(self.config.micros) * U256::from(WEI_PER_MICRO);
        let wei = (micros * U256::from(10).pow(U256::from(reading.decimals))).div_ceil(answer);
        let wei = u64::try_from(wei).map_err(|_| Unbelievable::TooLarge)?;
        Price::new(wei, self.config.pixels).map_err(|_| Unbelievable::TooLarge)
    }

    /// Whether two prices differ by no more than may be at once, in percent of the first.
    fn is_near(&self, one: Price, other: Price) -> bool {
        let cross = |a: Price, b: Price| U256::from(a.wei_per_unit()) * U256::from(b.pixels_per_unit());
        let (first, second) = (cross(one, other), cross(other, one));
        first.abs_diff(second) * U256::from(100) <= first * U256::from(self.config.max_change_percent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn feed() -> PriceFeed {
        PriceFeed::new(PriceFeedConfig::default())
    }

    /// Dollars, with the eight decimals that such feeds have.
    fn reading(round: u64, dollars: i64) -> Reading {
        let answer = I256::try_from(dollars * 100_000_000).unwrap();
        Reading { round: U256::from(round), answer, decimals: 8, updated_at: NOW - 60 }
    }

    #[test]
    fn dollars_become_wei() {
        // 50 millionths of a dollar for 10^9 pixels, at 2500 dollars an ether: 2 · 10^10 wei, so 20 for a pixel.
        assert_eq!(feed().take(&reading(1, 2500), NOW), Ok(Price::new(20, 1).unwrap()));
        let odd = feed().take(&reading(1, 2999), NOW).unwrap();
        assert_eq!(odd.wei_per_unit(), 16_672_224_075, "50e12 / 2999 = 16672224074.69…, rounded up");
    }

    #[test]
    fn nonsense_is_not_believed() {
        let refused = |reading: Reading| feed().take(&reading, NOW).unwrap_err();
        for answer in [I256::ZERO, I256::MINUS_ONE, I256::MIN] {
            assert_eq!(refused(Reading { answer, ..reading(1, 1) }), Unbelievable::Answer(answer));
        }
        assert_eq!(refused(Reading { decimals: 77, ..reading(1, 1) }), Unbelievable::Decimals(77));
        let old = Reading { updated_at: NOW - 90_001, ..reading(1, 2500) };
        assert_eq!(refused(old), Unbelievable::Stale { age_s: 90_001, max_s: 90_000 });
        let ahead = |seconds| Reading { updated_at: NOW + seconds, ..reading(1, 2500) };
        assert!(feed().take(&ahead(300), NOW).is_ok(), "a clock that is off");
        assert_eq!(refused(ahead(301)), Unbelievable::Ahead { ahead_s: 301 });
        assert_eq!(
            refused(Reading { updated_at: u64::MAX, ..ahead(0) }),
            Unbelievable::Ahead { ahead_s: u64::MAX - NOW }
        );
        assert!(matches!(refused(reading(1, 1_000_000_000)), Unbelievable::OutOfBounds { .. }), "nearly free");
        let worthless = Reading { answer: I256::ONE, decimals: 18, ..reading(1, 1) };
        assert_eq!(refused(worthless), Unbelievable::TooLarge);
    }

    #[test]
    fn large_change_needs_another_round_that_says_the_same() {
        let mut feed = feed();
        let first = feed.take(&reading(1, 2500), NOW).unwrap();
        assert!(feed.take(&reading(2, 2600), NOW).is_ok());
        let jump = feed.take(&reading(3, 1000), NOW).unwrap_err();
        assert!(matches!(jump, Unbelievable::Jump { max_percent: 20, .. }), "{jump}");
        assert!(feed.take(&reading(3, 1000), NOW).is_err(), "the same round again");
        assert!(feed.take(&reading(4, 2500), NOW).is_ok_and(|price| price == first), "it was a spike");
        assert!(feed.take(&reading(5, 1000), NOW).is_err(), "and is one again");
        assert!(feed.take(&reading(6, 500), NOW).is_err(), "another one confirms nothing");
        assert!(feed.take(&reading(7, 510), NOW).is_ok());
    }

    #[test]
    fn settings_without_a_price_are_refused() {
        let refusal = |change: fn(&mut PriceFeedConfig)| {
            let mut config = PriceFeedConfig::default();
            change(&mut config);
            config.validate().unwrap_err()
        };
        assert_eq!(PriceFeedConfig::default().validate(), Ok(()));
        assert_eq!(refusal(|c| c.micros = 0), PriceFeedError::Zero("micros"));
        assert_eq!(refusal(|c| c.min = Price::FREE), PriceFeedError::Zero("min"));
        assert_eq!(refusal(|c| c.max = Price::new(1, 1_000_000).unwrap()), PriceFeedError::Order);
    }

    proptest! {
        #[test]
        fn whatever_a_feed_tells_the_price_stays_within_its_bounds(
            readings in prop::collection::vec(
                (any::<[u8; 32]>(), 0..256_usize, 0..40_u8, any::<u64>(), any::<u64>()), 1..40,
            ),
        ) {
            let mut feed = feed();
            for (answer, shift, decimals, age, round) in readings {
                let answer = I256::from_raw(U256::from_be_bytes(answer) >> shift);
                // Half of them are fresh.
                let updated_at = if round % 2 == 0 { NOW - age % 1000 } else { age };
                let reading = Reading { round: U256::from(round), answer, decimals, updated_at };
                if let Ok(price) = feed.take(&reading, NOW) {
                    prop_assert!(!price.is_free() && price >= feed.config.min && price <= feed.config.max);
                }
            }
        }
    }
}
