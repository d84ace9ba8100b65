//! What an honest sender needs, by what is counted on of its deposit (docs/designs/024-cover.md).
#![allow(clippy::unwrap_used)] // clippy sees only the test functions themselves as tests
use std::collections::VecDeque;

use alloy_primitives::U256;
use rand::{Rng, SeedableRng, rngs::StdRng};
use streamflow_pm::{Backing, DepositDivisor, TicketPolicy};
use streamflow_types::SenderFunds;

/// Wei.
const MILLI_ETH: u64 = 1_000_000_000_000_000;
/// Blocks of twelve seconds.
const DAY: u64 = 7_200;
/// Longest that the keeper of this repository lets a winner wait: the life of its params, its margin, `gather_blocks`.
const PATIENT: u64 = 40 + 10 + 1_800;
/// A keeper that redeems as soon as it may.
const PROMPT: u64 = 50;

/// A sender among 100 active orchestrators, which fills up what was drawn, so that its funds stay as they are.
struct Honest {
    deposit: u64,
    reserve: u64,
    /// Time in which the deposit would be spent at this orchestrator alone, blocks.
    lasts: u64,
    /// Time from winning to being paid, blocks.
    wait: u64,
}

/// What came of some days with it.
#[derive(Debug)]
struct Service {
    /// Blocks in which it got no terms, ppm.
    refused: u64,
    /// Mean face value, percent of the one aimed at.
    face: u64,
}

impl Honest {
    fn serve(&self, divisor: DepositDivisor) -> Service {
        let policy = TicketPolicy { min_gas_price: 10_000_000, ..TicketPolicy::default() };
        let aim = policy.tx_cost(0) * U256::from(policy.tx_cost_multiplier);
        let funds = SenderFunds {
            deposit: U256::from(self.deposit),
            reserve: U256::from(self.reserve),
            pool_size: 100,
            ..SenderFunds::default()
        };
        let per_block = self.deposit / self.lasts;
        let mut rng = StdRng::seed_from_u64(24);
        let (mut held, mut pending): (VecDeque<(u64, u64)>, u64) = (VecDeque::new(), 0);
        let (mut refused, mut faces) = (0, 0_u128);
        let blocks = 20 * DAY;
        for block in 0..blocks {
            while let Some((_, face)) = held.pop_front_if(|(won, _)| *won + self.wait <= block) {
                pending -= face;
            }
            let backing = Backing { funds, pending: U256::from(pending) };
            let Ok(terms) = policy.terms(0, backing.float(divisor)) else {
                refused += 1;
                continue;
            };
            let face = terms.face_value.to::<u64>();
            faces += u128::from(face);
            // Several tickets of a block may win once the face value is small.
            for _ in 0..per_block / face {
                held.push_back((block, face));
                pending += face;
            }
            if rng.random_range(0..face) < per_block % face {
                held.push_back((block, face));
                pending += face;
            }
        }
        let served = u128::from(blocks - refused) * aim.to::<u128>();
        Service { refused: refused * 1_000_000 / blocks, face: (faces * 100 / served) as u64 }
    }
}

fn sender(milli_eth: [u64; 2], days: u64, wait: u64) -> Honest {
    let [deposit, reserve] = milli_eth.map(|amount| amount * MILLI_ETH);
    Honest { deposit, reserve, lasts: days * DAY, wait }
}

#[test]
fn a_deposit_for_a_week_at_one_orchestrator_is_cover_enough_for_any_keeper() {
    for funds in [[30, 36], [100, 36], [1000, 360]] {
        let service = sender(funds, 7, PATIENT).serve(DepositDivisor::default());
        assert!(service.refused == 0 && service.face >= 99, "{funds:?}: {service:?}");
    }
}

#[test]
fn a_deposit_for_a_day_is_enough_for_a_keeper_that_does_not_wait() {
    for funds in [[30, 36], [100, 36], [1000, 360]] {
        let service = sender(funds, 1, PROMPT).serve(DepositDivisor::default());
        assert!(service.refused == 0 && service.face >= 99, "{funds:?}: {service:?}");
    }
}

/// Why the default is not one part for each.
#[test]
fn a_hundredth_of_the_deposit_is_too_little_for_a_keeper_that_waits() {
    let service = sender([100, 36], 14, PATIENT).serve(DepositDivisor::ACTIVE_SET);
    assert!(service.refused > 300_000, "{service:?}");
}
