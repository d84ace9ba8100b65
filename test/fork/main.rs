//! The whole life of tickets on state forked from a running chain: quoted, paid, drawn, redeemed on both paths, earned,
//! withdrawn, replayed, expired. Everything off the chain is what the nodes run; the chain behind stays as it was.
mod market;

use alloy::{primitives::U256, sol_types::SolError};
use anyhow::{Result, ensure};
use streamflow_bindings::{BondingManager, TicketBroker};
use streamflow_pm::{ordered, wins};
use streamflow_types::WinningTicket;

use crate::market::{Binding, DELEGATOR_SHARE, Market, Path};

/// Tickets of one payment. One in two wins, so the odds are good that there are some of both.
const TICKETS: usize = 32;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_lives_on_a_fork() -> Result<()> {
    let (mut market, behind) = Market::fork().await?;
    let before = behind.everything().await?;

    one_by_one(&mut market, Binding::BlockHash)?;
    one_by_one(&mut market, Binding::Deployment)?;
    in_order(&mut market)?;
    earned(&mut market)?;
    expired(&mut market)?;

    ensure!(behind.everything().await? == before, "the chain behind has changed");
    Ok(())
}

/// Every ticket of a payment is offered to the contract: it pays those that our own draw says win, once each.
fn one_by_one(market: &mut Market, binding: Binding) -> Result<()> {
    let payment = market.payment(Path::Single, binding, TICKETS)?;
    let funds = market.funds()?;
    let mut paid = U256::ZERO;
    for ticket in &payment.tickets {
        let outcome = market.redeem(ticket)?;
        assert_eq!(outcome.is_ok(), wins(&ticket.signed, ticket.recipient_rand), "ticket {ticket:?}");
        match outcome {
            Ok(done) => {
                let event: TicketBroker::WinningTicketTransfer = done.event()?;
                assert_eq!(event.amount, ticket.signed.ticket.face_value);
                paid += event.amount;
                let again = market.redeem(ticket)?.expect_err("paid twice");
                assert!(again.is::<TicketBroker::TicketUsed>(), "{again}");
                let mark = market.mark()?;
                let in_order = market.redeem_ordered(mark, &[ticket])?;
                assert_eq!(in_order.skipped, Some(TicketBroker::TicketNotMarked::SELECTOR));
            }
            Err(refusal) => assert!(refusal.is::<TicketBroker::TicketNotWinning>(), "{refusal}"),
        }
    }
    let winners = payment.tickets.iter().filter(|ticket| wins(&ticket.signed, ticket.recipient_rand)).count();
    assert!(0 < winners && winners < TICKETS, "{winners} of {TICKETS} win");
    assert_eq!(payment.winners.len(), winners, "the orchestrator keeps what wins");
    let is_bound = |ticket: &WinningTicket| ticket.signed.ticket.deployment.is_some();
    assert!(payment.tickets.iter().all(|ticket| is_bound(ticket) == (binding == Binding::Deployment)));
    assert_eq!(market.funds()?.deposit, funds.deposit - paid);
    market.earned += paid;
    Ok(())
}

/// Marked winners are paid in one call, which moves the mark to the last of them; neither path pays one again.
fn in_order(market: &mut Market) -> Result<()> {
    let mut winners = market.payment(Path::Ordered, Binding::BlockHash, TICKETS)?.winners;
    winners.extend(market.payment(Path::Ordered, Binding::Deployment, TICKETS)?.winners);
    winners.sort_by_key(Market::key);
    let tickets: Vec<_> = winners.iter().collect();
    assert!(tickets.len() > 4, "{} win", tickets.len());
    assert!(tickets.iter().all(|ticket| ordered::is_marked(ticket.recipient_rand)));
    let sum: U256 = tickets.iter().map(|ticket| ticket.signed.ticket.face_value).sum();
    let (funds, mark) = (market.funds()?, market.mark()?);
    assert_eq!(mark, U256::ZERO);

    let refusal = market.redeem(tickets[0])?.expect_err("a marked ticket on the deployed path");
    assert!(refusal.is::<TicketBroker::TicketMarked>(), "{refusal}");

    let single = market.single_gas()?;
    let batch = market.redeem_ordered(mark, &tickets)?;
    assert_eq!((batch.paid, batch.skipped), (sum, None));
    assert_eq!(market.mark()?, Market::key(&winners[winners.len() - 1]));
    assert_eq!(market.funds()?.deposit, funds.deposit - sum);
    market.earned += sum;
    let each = batch.gas / tickets.len() as u64;
    assert!(each < single / 2, "{each} gas in order, {single} alone");

    let again = market.redeem_ordered(mark, &tickets)?;
    assert_eq!((again.paid, again.skipped), (U256::ZERO, Some(TicketBroker::MarkMoved::SELECTOR)));
    let moved = market.mark()?;
    let again = market.redeem_ordered(moved, &tickets)?;
    assert_eq!((again.paid, again.skipped), (U256::ZERO, Some(TicketBroker::KeyNotAscending::SELECTOR)));
    for ticket in tickets {
        let again = market.redeem(ticket)?.expect_err("paid on the other path");
        assert!(again.is::<TicketBroker::TicketMarked>(), "{again}");
    }
    assert_eq!(market.funds()?.deposit, funds.deposit - sum);
    Ok(())
}

/// What was paid belongs to the orchestrator and its delegator, who takes its part home.
fn earned(market: &mut Market) -> Result<()> {
    let (orchestrator, delegator) = (market.orchestrator, market.delegator);
    let fees = market.pending_fees(delegator)?;
    let all = fees + market.pending_fees(orchestrator)?;
    // Each payout is rounded down for each of the two, by less than two wei.
    let payouts = U256::from(6 * TICKETS);
    assert!(all <= market.earned && market.earned - all < payouts, "{all} of {}", market.earned);
    let share = market.earned * U256::from(DELEGATOR_SHARE) / U256::from(1_000_000);
    assert!(fees <= share && share - fees < payouts, "{fees} of {share}");
    assert_eq!(market.unclaimed_fees()?, market.earned);

    let staking = market.contracts.bonding_manager;
    let claim = BondingManager::claimEarningsCall(U256::ZERO);
    market.chain.send(delegator, staking, claim, U256::ZERO)?;
    assert_eq!(market.pending_fees(delegator)?, fees, "a claim changes nothing");
    let before = market.chain.balance(delegator)?;
    let more = BondingManager::withdrawFeesCall { recipient: delegator, amount: fees + U256::ONE };
    let refusal = market.chain.try_send(delegator, staking, more, U256::ZERO)?.err().expect("more than earned");
    assert!(refusal.is::<BondingManager::InsufficientFees>(), "{refusal}");
    let all = BondingManager::withdrawFeesCall { recipient: delegator, amount: fees };
    market.chain.send(delegator, staking, all, U256::ZERO)?;
    assert_eq!(market.chain.balance(delegator)? - before, fees);
    assert_eq!(market.pending_fees(delegator)?, U256::ZERO);
    assert_eq!(market.unclaimed_fees()?, market.earned - fees);
    Ok(())
}

/// A winner pays until the last round of its validity, and never after.
fn expired(market: &mut Market) -> Result<()> {
    let single = market.payment(Path::Single, Binding::Deployment, TICKETS)?.winners;
    let marked = market.payment(Path::Ordered, Binding::BlockHash, TICKETS)?.winners;
    let (validity, mark) = (market.ticket_validity()?, market.mark()?);
    assert!(single.len() > 1 && marked.len() > 1);
    market.next_rounds(validity - 1)?;
    market.redeem(&single[0])?.expect("the last round of its life");
    assert_eq!(market.redeem_ordered(mark, &[&marked[0]])?.skipped, None);
    market.next_rounds(1)?;
    let refusal = market.redeem(&single[1])?.expect_err("too late");
    assert!(refusal.is::<TicketBroker::TicketExpired>(), "{refusal}");
    let mark = market.mark()?;
    let batch = market.redeem_ordered(mark, &[&marked[1]])?;
    assert_eq!((batch.paid, batch.skipped), (U256::ZERO, Some(TicketBroker::TicketExpired::SELECTOR)));
    Ok(())
}
