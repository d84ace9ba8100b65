//! What a sender's funds are worth to one recipient (payments.md §1.10).
use std::{fmt, num::NonZeroU64};

use alloy_primitives::{I256, Sign, U256};
use streamflow_types::{Round, SenderFunds};

/// A deposit this many times what is pending pays for the pending winners by itself.
const MIN_DEPOSIT_PENDING_RATIO: u64 = 3;

/// Wei of reserve that this recipient can still claim in the current round: its share of the common one, rounded down and
/// negative when the pool has grown since it claimed, and what is committed to it alone.
pub fn reserve_alloc(funds: &SenderFunds) -> I256 {
    let share = funds.reserve.saturating_add(funds.claimed_in_current_round).checked_div(U256::from(funds.pool_size));
    let left = share.map_or(I256::ZERO, |share| signed(share).saturating_sub(signed(funds.claimed_by_recipient)));
    left.saturating_add(signed(funds.committed))
}

/// Parts that a sender's deposit is divided into; one recipient counts on one of them. A deposit pays whoever comes first, so
/// the same money must not be counted on by many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DepositDivisor(NonZeroU64);

impl DepositDivisor {
    /// All of the deposit is one part, as the deployed network counts.
    pub const WHOLE: Self = Self(NonZeroU64::MIN);
    /// One part for each of those who may draw on it: all who share the reserve.
    pub const ACTIVE_SET: Self = Self(NonZeroU64::MAX);

    /// One part of the deposit, wei rounded down. There are no more parts than recipients who may draw on it.
    pub fn part(self, funds: &SenderFunds) -> U256 {
        funds.deposit / self.parts(funds)
    }

    fn parts(self, funds: &SenderFunds) -> U256 {
        U256::from(self.0.get().min(funds.pool_size).max(1))
    }
}

impl Default for DepositDivisor {
    /// Ten parts: a deposit for a week at one orchestrator is then never too small for what waits to be redeemed
    /// (docs/designs/024-cover.md).
    fn default() -> Self {
        Self::from(10)
    }
}

impl From<u64> for DepositDivisor {
    /// 0 stands for the active set.
    fn from(parts: u64) -> Self {
        NonZeroU64::new(parts).map_or(Self::ACTIVE_SET, Self)
    }
}

/// The largest face value, in wei, that a winning ticket of this sender is paid by the rule of the deployed network, which
/// counts on all of the deposit; may be negative.
///
/// `pending` is the face value of all winners not redeemed yet, queued and in flight: others may be paid first.
pub fn max_float(funds: &SenderFunds, pending: U256) -> I256 {
    float(funds, pending, DepositDivisor::WHOLE)
}

/// The share of the reserve, less the pending winners that the part of the deposit does not take over. It takes over none
/// unless the deposit is three times what is pending.
fn float(funds: &SenderFunds, pending: U256, divisor: DepositDivisor) -> I256 {
    let ample = pending.checked_mul(U256::from(MIN_DEPOSIT_PENDING_RATIO)).is_some_and(|p| funds.deposit >= p);
    let relief = if ample { pending.min(divisor.part(funds)) } else { U256::ZERO };
    reserve_alloc(funds).saturating_sub(signed(pending - relief))
}

/// Wei that redemptions can still draw, deposit included; may be negative.
pub fn available_funds(funds: &SenderFunds, pending: U256) -> I256 {
    reserve_alloc(funds).saturating_add(signed(funds.deposit)).saturating_sub(signed(pending))
}

/// What stands behind a sender's tickets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backing {
    /// Deposit and reserve, of one block.
    pub funds: SenderFunds,
    /// Exposure: face value of the winners that are not redeemed yet, queued and in flight, in wei.
    pub pending: U256,
}

impl From<&SenderFunds> for Backing {
    /// Nothing was won yet.
    fn from(funds: &SenderFunds) -> Self {
        Self { funds: *funds, pending: U256::ZERO }
    }
}

impl Backing {
    /// The largest face value, in wei, of one more winner that is counted on; may be negative.
    ///
    /// One more winner of at most this keeps all of them together within the share of the reserve and the part of the deposit.
    pub fn float(&self, divisor: DepositDivisor) -> I256 {
        float(&self.funds, self.pending, divisor)
    }

    /// What is missing to a float of `needed` wei; none if it is there.
    pub fn shortfall(&self, needed: U256, divisor: DepositDivisor) -> Option<Shortfall> {
        let float = self.float(divisor);
        if float >= signed(needed) {
            return None;
        }
        let missing = signed(needed).saturating_sub(float).unsigned_abs();
        let pool = Some(U256::from(self.funds.pool_size)).filter(|pool| !pool.is_zero());
        Some(Shortfall {
            float: U256::try_from(float).unwrap_or(U256::ZERO),
            needed,
            exposure: self.pending,
            more_deposit: self.missing_deposit(needed, divisor),
            more_reserve: pool.map(|pool| missing.saturating_mul(pool)),
            more_committed: missing,
        })
    }

    /// Deposit that is missing to a float of `needed` wei; none if none would do. A deposit helps only where it takes over
    /// what is pending.
    fn missing_deposit(&self, needed: U256, divisor: DepositDivisor) -> Option<U256> {
        let spare = U256::try_from(reserve_alloc(&self.funds).saturating_sub(signed(needed))).ok()?;
        let relief = self.pending.saturating_sub(spare);
        let ample = self.pending.saturating_mul(U256::from(MIN_DEPOSIT_PENDING_RATIO));
        let deposit = relief.saturating_mul(divisor.parts(&self.funds)).max(ample);
        Some(deposit.saturating_sub(self.funds.deposit))
    }
}

/// A sender whose funds do not cover one more winning ticket, and what would help. All amounts in wei.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortfall {
    /// What a winning ticket is sure to be paid; a negative float counts as 0.
    pub float: U256,
    /// What it must be sure to be paid.
    pub needed: U256,
    /// Winners that are not paid yet.
    pub exposure: U256,
    /// So much more deposit would do; none if no deposit does.
    pub more_deposit: Option<U256>,
    /// So much more common reserve would do, rounded up to whole shares; none if nobody shares it.
    pub more_reserve: Option<U256>,
    /// So much more reserve committed to this recipient alone would do.
    pub more_committed: U256,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { float, needed, exposure, more_deposit, more_reserve, more_committed } = self;
        write!(f, "a winning ticket of this sender is covered up to {float} wei, {needed} wei are needed, ")?;
        write!(f, "and {exposure} wei won from it are not redeemed yet: what would do is ")?;
        if let Some(deposit) = more_deposit {
            write!(f, "{deposit} wei more deposit, or ")?;
        }
        if let Some(reserve) = more_reserve {
            write!(f, "{reserve} wei more reserve, or ")?;
        }
        write!(f, "{more_committed} wei committed to this recipient")
    }
}

/// Whether the sender may withdraw in the round after `last_round`, or already could: its tickets may then be
/// worthless before they can be redeemed.
pub fn unlocks_soon(funds: &SenderFunds, last_round: Round) -> bool {
    funds.withdraw_round != Round(0) && funds.withdraw_round <= last_round.next()
}

/// More than 2^255 − 1 wei, which no chain has, counts as that.
fn signed(wei: U256) -> I256 {
    I256::checked_from_sign_and_abs(Sign::Positive, wei).unwrap_or(I256::MAX)
}

/// Face value of the winners of one sender that are not redeemed yet, in wei.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending(U256);

/// More was given back than was pending: the books are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot subtract from insufficient pendingAmount")]
pub struct PendingError;

impl Pending {
    /// A winner was queued.
    pub fn add(&mut self, face_value: U256) {
        self.0 = self.0.saturating_add(face_value);
    }

    /// A winner was paid or given up.
    pub fn subtract(&mut self, face_value: U256) -> Result<(), PendingError> {
        self.0 = self.0.checked_sub(face_value).ok_or(PendingError)?;
        Ok(())
    }

    /// Wei.
    pub fn wei(self) -> U256 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn funds(deposit: u64, reserve: u64, claimed_by_recipient: u64, pool_size: u64) -> SenderFunds {
        SenderFunds {
            deposit: U256::from(deposit),
            reserve: U256::from(reserve),
            claimed_by_recipient: U256::from(claimed_by_recipient),
            pool_size,
            ..SenderFunds::default()
        }
    }

    fn wei(amount: i64) -> I256 {
        I256::try_from(amount).unwrap()
    }

    #[test]
    fn max_float_vectors() {
        assert_eq!(max_float(&funds(500, 500, 100, 50), U256::ZERO), wei(-90));
        for (deposit, expected) in [(400, 500), (300, 500), (200, 400), (0, 400)] {
            assert_eq!(max_float(&funds(deposit, 500, 0, 1), U256::from(100)), wei(expected));
            assert_eq!(max_float(&funds(deposit, 500, 0, 1), U256::ZERO), wei(500));
        }
    }

    #[test]
    fn a_part_of_the_deposit_takes_over_as_much_and_no_more() {
        // Share 100; deposit 900, which ten parts make 90 of.
        let backing = |pending| Backing { funds: funds(900, 1000, 0, 10), pending: U256::from(pending) };
        for (pending, expected) in [(0, 100), (90, 100), (91, 99), (190, 0), (191, -1), (300, -110), (301, -201)] {
            assert_eq!(backing(pending).float(DepositDivisor::ACTIVE_SET), wei(expected), "{pending}");
        }
        assert_eq!(backing(300).float(DepositDivisor::WHOLE), wei(100));
        assert_eq!(backing(300).float(DepositDivisor::from(5)), wei(-20));
        assert_eq!(DepositDivisor::from(0), DepositDivisor::ACTIVE_SET);
    }

    #[test]
    fn a_deposit_has_no_more_parts_than_there_are_who_may_draw_on_it() {
        let part = |divisor: u64, pool| DepositDivisor::from(divisor).part(&funds(900, 0, 0, pool)).to::<u64>();
        assert_eq!([part(1, 100), part(10, 100), part(0, 100), part(10, 3), part(0, 3)], [900, 90, 9, 300, 300]);
        assert_eq!([part(10, 1), part(10, 0)], [900, 900]);
    }

    #[test]
    fn pending_winners_lower_the_float() {
        let mut pending = Pending::default();
        let funds = funds(0, 500, 100, 50);
        for expected in [-95, -100] {
            pending.add(U256::from(5));
            assert_eq!(max_float(&funds, pending.wei()), wei(expected));
        }
        assert_eq!(pending.subtract(U256::from(10)), Ok(()));
    }

    #[test]
    fn more_than_is_pending_cannot_be_given_back() {
        let error = Pending::default().subtract(U256::from(20)).unwrap_err();
        assert_eq!(error.to_string(), "cannot subtract from insufficient pendingAmount");
    }

    #[test]
    fn reserve_alloc_vectors() {
        assert_eq!(reserve_alloc(&funds(0, 5000, 100, 5)), wei(900));
        assert_eq!(reserve_alloc(&funds(0, 5000, 100, 0)), wei(0));
    }

    #[test]
    fn what_is_committed_is_not_shared() {
        let funds = SenderFunds { committed: U256::from(300), ..funds(0, 5000, 100, 50) };
        assert_eq!(reserve_alloc(&funds), wei(300));
        assert_eq!(reserve_alloc(&SenderFunds { pool_size: 0, ..funds }), wei(300));
        assert_eq!(max_float(&funds, U256::from(50)), wei(250));
    }

    #[test]
    fn what_others_claimed_still_counts_for_the_share() {
        let funds = SenderFunds { claimed_in_current_round: U256::from(1000), ..funds(0, 4000, 0, 5) };
        assert_eq!(reserve_alloc(&funds), wei(1000));
    }

    #[test]
    fn available_funds_vectors() {
        assert_eq!(available_funds(&funds(500, 1000, 0, 1), U256::ZERO), wei(1500));
        assert_eq!(available_funds(&funds(500, 1000, 0, 1), U256::from(100)), wei(1400));
    }

    #[test]
    fn what_would_help_helps_and_no_less() {
        let lacking = [
            (500, 500, 100, 50, 0),
            (0, 500, 0, 1, 100),
            (200, 500, 0, 1, 100),
            (0, 7, 0, 3, 0),
            (9, 0, 4, 7, 5),
            (900, 3_000, 0, 6, 120),
        ];
        for (deposit, reserve, claimed, pool, pending) in lacking {
            let backing = Backing { funds: funds(deposit, reserve, claimed, pool), pending: U256::from(pending) };
            let needed = U256::from(450);
            for divisor in [DepositDivisor::ACTIVE_SET, DepositDivisor::WHOLE, DepositDivisor::from(9)] {
                helps(backing, needed, divisor);
            }
        }
    }

    fn helps(backing: Backing, needed: U256, divisor: DepositDivisor) {
        let Some(missing) = backing.shortfall(needed, divisor) else {
            assert!(backing.float(divisor) >= wei(450));
            return;
        };
        let with = |change: &dyn Fn(&mut SenderFunds)| {
            let mut helped = backing;
            change(&mut helped.funds);
            helped.shortfall(needed, divisor).is_none()
        };
        assert!(with(&|funds| funds.committed += missing.more_committed));
        assert!(!with(&|funds| funds.committed += missing.more_committed - U256::ONE));
        let reserve = missing.more_reserve.unwrap();
        assert!(with(&|funds| funds.reserve += reserve));
        assert!(
            !with(&|funds| funds.reserve += reserve - U256::from(backing.funds.pool_size)),
            "rounded to a whole share"
        );
        if let Some(deposit) = missing.more_deposit {
            assert!(with(&|funds| funds.deposit += deposit));
            assert!(!with(&|funds| funds.deposit += deposit - U256::ONE));
        }
    }

    #[test]
    fn a_negative_float_is_told_as_nothing() {
        let backing = Backing { funds: funds(500, 500, 100, 50), pending: U256::ZERO };
        let missing = backing.shortfall(U256::from(10), DepositDivisor::ACTIVE_SET).unwrap();
        assert_eq!((missing.float, missing.more_committed), (U256::ZERO, U256::from(100)));
        assert_eq!((missing.more_deposit, missing.more_reserve), (None, Some(U256::from(5000))));
        let alone = Backing { funds: funds(500, 500, 0, 0), pending: U256::ZERO };
        assert_eq!(alone.shortfall(U256::from(10), DepositDivisor::ACTIVE_SET).unwrap().more_reserve, None);
    }

    #[test]
    fn unlock_vectors() {
        let unlocking = SenderFunds { withdraw_round: Round(10), ..SenderFunds::default() };
        assert!(!unlocks_soon(&unlocking, Round(1)));
        assert!(unlocks_soon(&unlocking, Round(9)));
        assert!(unlocks_soon(&unlocking, Round(10)));
        assert!(!unlocks_soon(&SenderFunds::default(), Round(9)));
    }

    #[test]
    fn impossible_amounts_do_not_wrap() {
        let all = SenderFunds { reserve: U256::MAX, pool_size: 1, ..SenderFunds::default() };
        assert_eq!(reserve_alloc(&all), I256::MAX);
        assert_eq!(max_float(&SenderFunds::default(), U256::MAX), -I256::MAX);
    }
}
