//! When a redemption is worth its gas (docs/designs/020-keeper-policy.md). Pure, in integers: wei, blocks, rounds, and parts
//! per million of a value per round. A round is about a day on the networks that this protocol runs on, so no clock is
//! needed.

use std::fmt;

use alloy::primitives::U256;

/// The whole, in parts per million.
pub const PPM: u64 = 1_000_000;

/// How fast pending winners lose value: the chance that they are never paid, and the cost of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Risk {
    /// So many parts per million of their value per round.
    PerRound(u64),
    /// The sender is about to take its funds away, or owes more than it can pay: what can be had must be had now.
    Imminent,
}

/// What a recipient has at stake with one sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exposure {
    /// Σ face value of the winners that are not paid yet, wei.
    pub pending: U256,
    /// The sender's deposit, which all its recipients share, wei.
    pub deposit: U256,
    /// What the recipient alone may claim beside it: commitment and share of the reserve, wei.
    pub claimable: U256,
    /// Whether the sender has started to unlock its funds.
    pub unlocking: bool,
}

impl Exposure {
    /// The risk with this sender, where `base` parts per million per round is that with one whose deposit is far above what
    /// it owes: base · deposit / (deposit − owed), twice as much at half the deposit, imminent at all of it. What the
    /// recipient alone may claim is not at risk. Rounded up.
    pub fn risk(&self, base: u64) -> Risk {
        let cover = self.deposit.saturating_add(self.claimable);
        if self.pending.is_zero() || cover.is_zero() {
            // Nothing to lose, or nothing left to be had: haste gains nothing.
            return Risk::PerRound(base);
        }
        let owed = self.pending.saturating_sub(self.claimable);
        if self.unlocking || (!owed.is_zero() && owed >= self.deposit) {
            return Risk::Imminent;
        }
        if owed.is_zero() {
            return Risk::PerRound(base);
        }
        let scaled = U256::from(base).saturating_mul(self.deposit).div_ceil(self.deposit - owed);
        Risk::PerRound(scaled.saturating_to())
    }
}

/// The risk of several parts together: the mean, weighted by their value, rounded up; imminent if one of them is, since the
/// others then ride along for the gas of a ticket.
pub fn joint_risk(parts: impl IntoIterator<Item = (U256, Risk)>) -> Risk {
    let (mut value, mut weighted) = (U256::ZERO, U256::ZERO);
    for (worth, risk) in parts {
        let Risk::PerRound(ppm) = risk else { return Risk::Imminent };
        value = value.saturating_add(worth);
        weighted = weighted.saturating_add(worth.saturating_mul(U256::from(ppm)));
    }
    Risk::PerRound(if value.is_zero() { 0 } else { weighted.div_ceil(value).saturating_to() })
}

/// The value that a batch should gather before it is sent: V* = √(2 · C_f · w / (λ + r)), where the cost of waiting for more
/// equals what the fixed part of the gas costs per value. `fixed_cost` and `income` per round in wei; rounded down, so that
/// it is rather sent too early. No risk means waiting for as long as it may.
pub fn threshold(fixed_cost: U256, income: U256, risk: Risk) -> U256 {
    match risk {
        Risk::Imminent => U256::ZERO,
        Risk::PerRound(0) if fixed_cost.is_zero() || income.is_zero() => U256::ZERO,
        Risk::PerRound(0) => U256::MAX,
        Risk::PerRound(ppm) => {
            let twice = fixed_cost.saturating_mul(U256::from(2 * PPM));
            square_root(twice.saturating_mul(income) / U256::from(ppm))
        }
    }
}

/// Rounded down.
fn square_root(value: U256) -> U256 {
    if value.is_zero() {
        return U256::ZERO;
    }
    // Newton from above: falls until it no longer does.
    let mut root = U256::ONE << value.bit_len().div_ceil(2);
    loop {
        let next = (root + value / root) >> 1;
        if next >= root {
            return root;
        }
        root = next;
    }
}

/// How far the gas ceiling has risen: nothing at first, all at the deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Escalation(u32);

impl Escalation {
    /// The margin in full.
    pub const NONE: Self = Self(0);
    /// Break-even.
    pub const FULL: Self = Self(PPM as u32);

    /// `block` on the way from `begin` to `deadline`, in parts per million, rounded down.
    pub fn between(begin: u64, deadline: u64, block: u64) -> Self {
        if block >= deadline {
            return Self::FULL;
        }
        let Some(gone) = block.checked_sub(begin) else { return Self::NONE };
        let whole = u128::from(deadline - begin);
        Self(u32::try_from(u128::from(gone) * u128::from(PPM) / whole).unwrap_or(PPM as u32))
    }

    /// Whether it has begun.
    pub fn has_begun(self) -> bool {
        self > Self::NONE
    }

    /// What a redemption must pay above its gas, in parts per million of the gas: `margin_percent` falling in a straight line
    /// to nothing. Rounded up.
    pub fn margin(self, margin_percent: u32) -> u64 {
        let whole = u64::from(margin_percent) * (PPM / 100);
        let left = u128::from(whole) * u128::from(Self::FULL.0.saturating_sub(self.0));
        u64::try_from(left.div_ceil(u128::from(PPM))).unwrap_or(whole)
    }
}

/// Most wei per gas at which `payout` carries `gas` with the margin, rounded down.
pub fn ceiling(payout: U256, gas: u64, margin: u64) -> u128 {
    // gas · price · (1 + margin) <= payout
    let divisor = U256::from(gas.max(1)) * U256::from(PPM.saturating_add(margin));
    (payout.saturating_mul(U256::from(PPM)) / divisor).saturating_to()
}

/// Whether `payout` exceeds the gas and the margin.
pub fn carries(payout: U256, cost: U256, margin: u64) -> bool {
    // rounded up: the margin is a minimum
    let margin = cost.saturating_mul(U256::from(margin)).div_ceil(U256::from(PPM));
    payout > cost.saturating_add(margin)
}

/// What is known of a batch that could be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// Σ face value, wei.
    pub worth: U256,
    /// How fast it loses value.
    pub risk: Risk,
    /// Whether the recipient leaves the active set with this round: inactive, it is paid nothing.
    pub recipient_leaves: bool,
    /// Wei won per round.
    pub income: U256,
    /// Gas that one transaction for all of it saves over two for its halves.
    pub fixed_gas: u64,
    /// Gas of the whole, roughly.
    pub gas: u64,
    /// Wei per gas now.
    pub gas_price: u128,
    /// Median wei per gas of the recent blocks, if known.
    pub usual_gas_price: Option<u128>,
    /// Whether a ticket has waited for as long as it may.
    pub waited: bool,
    /// How far the gas ceiling has risen for the ticket that expires first.
    pub escalation: Escalation,
    /// Blocks until it begins to rise.
    pub blocks_left: u64,
}

/// Blocks that are weighed when the gas price is high.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long a high gas price is taken to last; 0 never waits for it to fall.
    pub blocks: u64,
    /// Blocks per round.
    pub round_length: u64,
}

/// Whether to send, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// Now.
    Now(Because),
    /// Later.
    Later(Until),
}

/// Why a batch is sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// A ticket is near the end of its last round.
    Expires,
    /// A sender unlocks its funds, or owes more than its deposit.
    SenderRisk,
    /// The recipient leaves the active set.
    RecipientLeaves,
    /// A ticket has waited for as long as it may.
    Waited,
    /// Waiting for more would cost more than it saves.
    Enough {
        /// Wei from which on that is so.
        threshold: U256,
    },
}

/// What a batch waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// More tickets.
    More {
        /// Wei from which on it goes.
        threshold: U256,
    },
    /// Cheaper gas.
    CheaperGas {
        /// Wei per gas now.
        now: u128,
        /// Median of the recent blocks.
        usual: u128,
    },
}

impl Outlook {
    /// Whether to send now. What may be lost for good goes first, whatever the gas price; then dear gas is waited out if
    /// that saves more than it risks; then tickets gather up to the threshold.
    pub fn timing(&self, patience: Patience) -> Timing {
        if self.escalation.has_begun() {
            return Timing::Now(Because::Expires);
        }
        if self.risk == Risk::Imminent {
            return Timing::Now(Because::SenderRisk);
        }
        if self.recipient_leaves {
            return Timing::Now(Because::RecipientLeaves);
        }
        if let Some(usual) = self.usual_gas_price.filter(|usual| self.waits_for(*usual, patience)) {
            return Timing::Later(Until::CheaperGas { now: self.gas_price, usual });
        }
        if self.waited {
            return Timing::Now(Because::Waited);
        }
        let threshold = threshold(wei(self.fixed_gas, self.gas_price), self.income, self.risk);
        if self.worth >= threshold {
            Timing::Now(Because::Enough { threshold })
        } else {
            Timing::Later(Until::More { threshold })
        }
    }

    /// Wait Δ iff G · (g − E\[g\]) > V · λ · Δ, and Δ ends before the ceiling rises.
    fn waits_for(&self, usual: u128, patience: Patience) -> bool {
        let Risk::PerRound(ppm) = self.risk else { return false };
        let Some(excess) = self.gas_price.checked_sub(usual) else { return false };
        if patience.blocks == 0 || patience.blocks >= self.blocks_left {
            return false;
        }
        // saved · PPM · round length > worth · ppm · blocks
        let scale = U256::from(PPM).saturating_mul(U256::from(patience.round_length.max(1)));
        let saved = wei(self.gas, excess).saturating_mul(scale);
        let risked = self.worth.saturating_mul(U256::from(ppm)).saturating_mul(U256::from(patience.blocks));
        saved > risked
    }
}

fn wei(gas: u64, gas_price: u128) -> U256 {
    U256::from(gas).saturating_mul(U256::from(gas_price))
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expires => f.write_str("a ticket expires soon"),
            Self::SenderRisk => f.write_str("a sender unlocks its funds or owes more than its deposit"),
            Self::RecipientLeaves => f.write_str("the recipient leaves the active set"),
            Self::Waited => f.write_str("a ticket has waited for keeper.gather_blocks"),
            Self::Enough { threshold } => write!(f, "worth at least {threshold} wei"),
        }
    }
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::More { threshold } => write!(f, "gathers until it is worth {threshold} wei"),
            Self::CheaperGas { now, usual } => write!(f, "gas costs {now} wei, {usual} as a rule"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exposure(pending: u64, deposit: u64, claimable: u64) -> Exposure {
        let (pending, deposit, claimable) = (U256::from(pending), U256::from(deposit), U256::from(claimable));
        Exposure { pending, deposit, claimable, unlocking: false }
    }

    #[test]
    fn risk_grows_as_the_debt_nears_the_deposit() {
        let risk = |pending, deposit, claimable| exposure(pending, deposit, claimable).risk(10_000);
        assert_eq!(risk(1, 1_000_000, 0), Risk::PerRound(10_001), "rounded up");
        assert_eq!(risk(50, 100, 0), Risk::PerRound(20_000));
        assert_eq!(risk(90, 100, 0), Risk::PerRound(100_000));
        assert_eq!(risk(100, 100, 0), Risk::Imminent);
        assert_eq!(risk(500, 100, 0), Risk::Imminent);
    }

    #[test]
    fn what_the_recipient_alone_may_claim_is_not_at_risk() {
        let risk = |pending, deposit, claimable| exposure(pending, deposit, claimable).risk(10_000);
        assert_eq!(risk(50, 100, 50), Risk::PerRound(10_000));
        assert_eq!(risk(100, 100, 50), Risk::PerRound(20_000));
        assert_eq!(risk(50, 0, 50), Risk::PerRound(10_000));
        assert_eq!(risk(51, 0, 50), Risk::Imminent);
    }

    #[test]
    fn an_unlock_is_imminent_while_there_is_something_to_be_had() {
        let unlocking = |pending, deposit| Exposure { unlocking: true, ..exposure(pending, deposit, 0) }.risk(10_000);
        assert_eq!(unlocking(1, 100), Risk::Imminent);
        assert_eq!(unlocking(0, 100), Risk::PerRound(10_000));
        assert_eq!(unlocking(1, 0), Risk::PerRound(10_000), "an empty sender hurries nobody");
    }

    #[test]
    fn the_joint_risk_is_the_mean_by_value() {
        let joint = |parts: &[(u64, Risk)]| joint_risk(parts.iter().map(|(worth, risk)| (U256::from(*worth), *risk)));
        assert_eq!(joint(&[(3, Risk::PerRound(10)), (1, Risk::PerRound(50))]), Risk::PerRound(20));
        assert_eq!(joint(&[(1_000, Risk::PerRound(10)), (1, Risk::Imminent)]), Risk::Imminent);
        assert_eq!(joint(&[]), Risk::PerRound(0));
    }

    /// payments.md §5.2: C_f 119,000 gas, 1 % a day.
    #[test]
    fn the_published_thresholds_come_out() {
        let finney = U256::from(1_000_000_000_000_000_u64);
        let winners = |gas_price: u128, face: U256, income: U256| {
            let threshold = threshold(wei(119_000, gas_price), income, Risk::PerRound(10_000));
            (threshold * U256::from(10) / face).to::<u64>() // tenths of a winner
        };
        let face = finney * U256::from(12) / U256::from(10);
        let fifty = finney * U256::from(50);
        assert_eq!(winners(10_000_000, face, fifty), 28, "2.9 in the table, rounded");
        assert_eq!(winners(10_000_000, face, fifty / U256::from(10)), 9);
        assert_eq!(winners(10_000_000, face, fifty * U256::from(10)), 90, "9.1");
        assert_eq!(winners(100_000_000, face, fifty), 90);
        assert_eq!(winners(1_000_000_000, face, fifty), 287, "29");
        assert_eq!(winners(3_000_000_000, face * U256::from(10), fifty), 49, "5.0");
    }

    #[test]
    fn without_risk_there_is_no_hurry_and_without_cost_no_waiting() {
        let big = U256::from(1_000);
        assert_eq!(threshold(big, big, Risk::PerRound(0)), U256::MAX);
        assert_eq!(threshold(big, big, Risk::Imminent), U256::ZERO);
        assert_eq!(threshold(U256::ZERO, big, Risk::PerRound(0)), U256::ZERO);
        assert_eq!(threshold(U256::ZERO, big, Risk::PerRound(5)), U256::ZERO);
    }

    #[test]
    fn the_margin_falls_in_a_straight_line() {
        let at = |block| Escalation::between(100, 200, block);
        assert_eq!(
            (at(99), at(100), at(200), at(999)),
            (Escalation::NONE, Escalation::NONE, Escalation::FULL, Escalation::FULL)
        );
        let margins: Vec<u64> = [50, 100, 140, 180, 200].map(|block| at(block).margin(25)).to_vec();
        assert_eq!(margins, [250_000, 250_000, 150_000, 50_000, 0]);
        assert_eq!(Escalation::between(100, 100, 99), Escalation::NONE);
        assert_eq!(Escalation::between(100, 100, 100), Escalation::FULL);
    }

    #[test]
    fn the_ceiling_reaches_break_even_at_the_deadline() {
        let payout = U256::from(1_250);
        let at = |block| ceiling(payout, 100, Escalation::between(100, 200, block).margin(25));
        assert_eq!((at(100), at(150), at(200)), (10, 11, 12));
        assert_eq!(ceiling(U256::MAX, 1, 0), u128::MAX);
        assert_eq!(ceiling(U256::ONE, u64::MAX, u64::MAX), 0);
    }

    fn outlook() -> Outlook {
        Outlook {
            worth: U256::from(1_000_000),
            risk: Risk::PerRound(10_000),
            recipient_leaves: false,
            income: U256::from(10_000_000),
            fixed_gas: 100,
            gas: 200,
            gas_price: 5,
            usual_gas_price: Some(5),
            waited: false,
            escalation: Escalation::NONE,
            blocks_left: 1_000,
        }
    }

    const PATIENCE: Patience = Patience { blocks: 100, round_length: 1_000 };

    fn timing(change: impl FnOnce(&mut Outlook)) -> Timing {
        let mut outlook = outlook();
        change(&mut outlook);
        outlook.timing(PATIENCE)
    }

    #[test]
    fn tickets_gather_up_to_the_threshold() {
        let threshold = U256::from(1_000_000); // √(2 · 500 · 10^7 / 0.01)
        assert_eq!(timing(|_| {}), Timing::Now(Because::Enough { threshold }));
        assert_eq!(timing(|o| o.worth -= U256::ONE), Timing::Later(Until::More { threshold }));
        assert_eq!(timing(|o| (o.worth, o.waited) = (U256::ONE, true)), Timing::Now(Because::Waited));
    }

    #[test]
    fn dear_gas_is_waited_out_while_that_saves_more_than_it_risks() {
        // at stake in 100 of 1,000 blocks: 1,000,000 · 1 % / 10 = 1,000 wei, so 5 wei above the usual price at 200 gas
        let dear = |price| timing(|o| (o.gas_price, o.waited) = (price, true));
        assert_eq!(dear(10), Timing::Now(Because::Waited));
        assert_eq!(dear(11), Timing::Later(Until::CheaperGas { now: 11, usual: 5 }));
        assert_eq!(
            timing(|o| (o.gas_price, o.waited, o.usual_gas_price) = (11, true, None)),
            Timing::Now(Because::Waited)
        );
        assert_eq!(timing(|o| (o.gas_price, o.waited, o.blocks_left) = (11, true, 100)), Timing::Now(Because::Waited));
        let off = Outlook { gas_price: 99, waited: true, ..outlook() };
        assert_eq!(off.timing(Patience { blocks: 0, ..PATIENCE }), Timing::Now(Because::Waited));
    }

    #[test]
    fn what_may_be_lost_for_good_goes_at_any_gas_price() {
        let poor = |o: &mut Outlook| (o.worth, o.gas_price) = (U256::ONE, 1_000);
        let now = |change: fn(&mut Outlook)| {
            timing(|o| {
                poor(o);
                change(o);
            })
        };
        assert!(matches!(timing(poor), Timing::Later(Until::CheaperGas { .. })));
        assert_eq!(now(|o| o.escalation = Escalation(1)), Timing::Now(Because::Expires));
        assert_eq!(now(|o| o.risk = Risk::Imminent), Timing::Now(Because::SenderRisk));
        assert_eq!(now(|o| o.recipient_leaves = true), Timing::Now(Because::RecipientLeaves));
    }

    proptest! {
        #[test]
        fn the_root_is_the_largest_whose_square_fits(low in any::<u128>(), high in any::<u64>()) {
            let value = (U256::from(high) << 128) | U256::from(low);
            let root = square_root(value);
            prop_assert!(root * root <= value);
            prop_assert!((root + U256::ONE) * (root + U256::ONE) > value);
        }

        /// What is sent within its ceiling carries its gas, at any stage.
        #[test]
        fn a_price_within_the_ceiling_carries(payout in 1..u128::MAX, gas in 21_000..30_000_000_u64, percent in 0..500_u32, gone in 0..=100_u64) {
            let margin = Escalation::between(0, 100, gone).margin(percent);
            let payout = U256::from(payout);
            let price = ceiling(payout, gas, margin);
            if price > 1 {
                prop_assert!(carries(payout, wei(gas, price - 1), margin));
            }
            prop_assert!(!carries(payout, wei(gas, price.saturating_add(1)), margin) || price == u128::MAX);
        }
    }
}
