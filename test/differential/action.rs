//! What can happen to the market, and random sequences of it.
use proptest::prelude::*;

use crate::model::Who;

/// Accounts that act. They are named by number; most stake goes to the first four.
pub(crate) const ACTORS: Who = 8;
/// Holds enough stake, and is never slashed, so that a round's inflation cannot multiply somebody's stake at will. It only
/// calls rewards and earns fees.
pub(crate) const ANCHOR: Who = ACTORS;
/// All of them.
pub(crate) const ACCOUNTS: usize = ACTORS + 1;

/// One call, or the passing of time. Amounts that depend on the state are parts of it, and locks are counted over all
/// accounts, so that a sequence keeps its sense when calls before are left out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Bond { who: Who, to: Who, wei: u128 },
    Unbond { who: Who, what: Part },
    Rebond { lock: usize },
    RebondFromUnbonded { to: Who, lock: usize },
    WithdrawStake { lock: usize },
    WithdrawFees { who: Who, what: Part },
    Claim { who: Who },
    Reward { who: Who },
    SetCommissions { who: Who, reward_cut: u32, fee_share: u32 },
    Ticket { to: Who, wei: u128, age: u64 },
    Slash { who: Who, finder: Who, ppm: u32, finder_ppm: u32 },
    RegisterVerifier(bool),
    Advance { rounds: u64, offset: u64, initialize: bool },
    Initialize,
}

/// How much of what there is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    All,
    Ppm(u32),
    Wei(u32),
    OneTooMuch,
}

impl Part {
    pub(crate) fn of(self, all: u128) -> u128 {
        match self {
            Self::All => all,
            Self::Ppm(ppm) => all * u128::from(ppm) / 1_000_000,
            Self::Wei(wei) => u128::from(wei).min(all),
            Self::OneTooMuch => all + 1,
        }
    }
}

/// Blocks per round.
pub(crate) const ROUND_LENGTH: u64 = 100;

/// Sequences of at most `length` actions.
pub(crate) fn sequences(length: usize) -> impl Strategy<Value = Vec<Action>> {
    proptest::collection::vec(action(), 1..=length)
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (actor(), delegate(), amount(23)).prop_map(|(who, to, wei)| Action::Bond { who, to, wei }),
        7 => (actor(), part()).prop_map(|(who, what)| Action::Unbond { who, what }),
        2 => (0..64_usize).prop_map(|lock| Action::Rebond { lock }),
        2 => (delegate(), 0..64_usize).prop_map(|(to, lock)| Action::RebondFromUnbonded { to, lock }),
        2 => (0..64_usize).prop_map(|lock| Action::WithdrawStake { lock }),
        2 => (actor(), part()).prop_map(|(who, what)| Action::WithdrawFees { who, what }),
        5 => actor().prop_map(|who| Action::Claim { who }),
        12 => earner().prop_map(|who| Action::Reward { who }),
        4 => (delegate(), share(), share())
            .prop_map(|(who, reward_cut, fee_share)| Action::SetCommissions { who, reward_cut, fee_share }),
        12 => (earner(), amount(20), 0..2_u64).prop_map(|(to, wei, age)| Action::Ticket { to, wei, age }),
        3 => (actor(), actor(), loss(), share())
            .prop_map(|(who, finder, ppm, finder_ppm)| Action::Slash { who, finder, ppm, finder_ppm }),
        2 => prop::bool::weighted(0.75).prop_map(Action::RegisterVerifier),
        9 => (0..4_u64, 0..ROUND_LENGTH, prop::bool::weighted(0.95))
            .prop_map(|(rounds, offset, initialize)| Action::Advance { rounds, offset, initialize }),
        1 => Just(Action::Initialize),
    ]
}

fn actor() -> impl Strategy<Value = Who> {
    0..ACTORS
}

fn delegate() -> impl Strategy<Value = Who> {
    prop_oneof![9 => 0..4_usize, 1 => 4..ACCOUNTS]
}

fn earner() -> impl Strategy<Value = Who> {
    prop_oneof![9 => 0..4_usize, 1 => 4..ACTORS, 2 => Just(ANCHOR)]
}

/// Any order of magnitude up to that of `10^exponent`.
fn amount(exponent: u32) -> impl Strategy<Value = u128> {
    (0..=exponent, 1..1_000_u128).prop_map(|(exponent, lead)| (lead * 10_u128.pow(exponent) / 100).max(1))
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        3 => Just(Part::All),
        6 => (0..=1_000_000_u32).prop_map(Part::Ppm),
        2 => (0..1_000_u32).prop_map(Part::Wei),
        1 => Just(Part::OneTooMuch),
    ]
}

fn share() -> impl Strategy<Value = u32> {
    prop_oneof![1 => Just(0), 1 => Just(1_000_000), 4 => 0..=1_000_000_u32]
}

fn loss() -> impl Strategy<Value = u32> {
    prop_oneof![
        8 => 1..=500_000_u32,
        2 => Just(999_999),
        1 => Just(1_000_000),
        1 => Just(0),
    ]
}
