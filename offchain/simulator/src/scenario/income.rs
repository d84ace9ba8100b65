//! How much incomes vary, beside what theory says.
use rand_chacha::ChaCha20Rng;
use serde::Serialize;

use super::{Cover, Path};
use crate::{
    SimulatorError, Size, Wei, statistics,
    world::{Offer, Payer, UNIT, World},
};

/// Tickets of one payment.
const TICKETS: usize = 50;
/// Winners of one redemption.
const BATCH: usize = 60;
/// Face value and expected value of a ticket, wei: one in twenty wins.
const OFFER: Offer = Offer { face_value: UNIT / 500, ev: UNIT / 10_000, cover: Cover::MaxFloat };

/// How incomes vary.
#[derive(Debug, Serialize)]
pub struct Income {
    /// Tickets paid to all orchestrators.
    pub tickets: u64,
    /// Chance of each to win.
    pub win_probability: f64,
    /// Paid by each that wins.
    pub face_value: Wei,
    /// Tickets that won.
    pub winners: u64,
    /// Expected of all tickets, rounded down.
    pub expected: Wei,
    /// Paid by the contracts.
    pub paid: Wei,
    /// Where `paid` lies in 99 % of runs, by the binomial distribution; both ends included.
    pub interval_99: [Wei; 2],
    /// Whether it does in this one.
    pub inside: bool,
    /// After each payment.
    pub points: Vec<IncomePoint>,
}

/// Incomes after the same number of tickets each.
#[derive(Debug, Serialize)]
pub struct IncomePoint {
    /// Tickets of each orchestrator.
    pub tickets: u64,
    /// What each has won.
    pub incomes: Vec<Wei>,
    /// Standard deviation of the incomes over their mean; 0 before anybody has won.
    pub measured: f64,
    /// By theory: sqrt((1 − p) / (n · p)).
    pub theory: f64,
    /// Where 99 % of measured deviations lie, for normal incomes.
    pub interval_99: [f64; 2],
}

/// Pays every orchestrator the same number of tickets and redeems what wins.
pub(crate) fn income(world: &mut World, size: &Size, rng: &mut ChaCha20Rng) -> Result<Income, SimulatorError> {
    let mut desks = world.desks(size.incomes, OFFER, rng)?;
    let payer = Payer::new(rng)?;
    world.fund(payer.account(), 1_000 * UNIT, 100 * UNIT)?;
    let terms = desks.first().map(|desk| desk.terms()).transpose()?.unwrap_or(streamflow_pm::Terms::FREE);
    let probability = (terms.win_prob.0 >> 192_usize).saturating_to::<u64>() as f64 / 2.0_f64.powi(64);
    let mut won = vec![Wei::ZERO; desks.len()];
    let mut paid = Wei::ZERO;
    let mut points = Vec::new();
    for payment in 1..=size.payments {
        for (desk, won) in desks.iter_mut().zip(&mut won) {
            let params = desk.quote(world, payer.account(), Path::Ordered, rng)??;
            let payment = payer.pay(world, params, TICKETS, desk.price)?;
            let receipt = desk.receive(world, &payment)?;
            if let Some(error) = receipt.error {
                return Err(error.into());
            }
            *won += receipt.winners.iter().map(|winner| Wei::from_chain(winner.signed.ticket.face_value)).sum();
        }
        points.push(point(payment * TICKETS as u64, probability, &won));
        world.advance(50);
        for desk in &mut desks {
            let ready = desk.take_ready(world.block());
            for batch in ready.chunks(BATCH) {
                paid += world.redeem_in_order(batch)?.wei;
            }
        }
    }
    let expected_by_books = won.iter().copied().sum();
    if paid != expected_by_books {
        return Err(SimulatorError::Books { what: "incomes", expected: expected_by_books, got: paid });
    }
    let tickets = size.incomes * size.payments * TICKETS as u64;
    let face_value = Wei::from_chain(terms.face_value);
    let interval_99 =
        statistics::winners_99(tickets, probability).map(|winners| Wei(face_value.0 * i128::from(winners)));
    Ok(Income {
        tickets,
        win_probability: probability,
        face_value,
        winners: u64::try_from(paid.0 / face_value.0.max(1)).unwrap_or(0),
        expected: Wei::from_chain(
            streamflow_pm::TicketEv::new(terms.face_value, terms.win_prob).times(tickets as usize).floor_wei(),
        ),
        paid,
        interval_99,
        inside: (interval_99[0]..=interval_99[1]).contains(&paid),
        points,
    })
}

fn point(tickets: u64, probability: f64, won: &[Wei]) -> IncomePoint {
    let samples: Vec<f64> = won.iter().map(|income| income.approx()).collect();
    let measured = statistics::relative_deviation(&samples);
    let theory = statistics::income_deviation(tickets, probability);
    IncomePoint {
        tickets,
        incomes: won.to_vec(),
        measured: if measured.is_finite() { measured } else { 0.0 },
        theory,
        interval_99: statistics::deviation_interval(won.len()).map(|factor| factor * theory),
    }
}
