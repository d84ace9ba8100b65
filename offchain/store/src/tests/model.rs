//! Random sequences of operations against a plain model of the state machine.

use std::collections::BTreeMap;

use proptest::prelude::*;
use streamflow_testkit::Database;
use streamflow_types::Round;

use super::{dead, hash, open, paid, waiting, winner_of_round};
use crate::{Store, StoreError, TicketOutcome, TicketStatus};

const TICKETS: u32 = 5;

#[derive(Debug, Clone)]
enum Op {
    Insert(Vec<u32>),
    Submit(u8, Vec<u32>),
    Settle(Vec<(u32, Outcome)>),
    Expire(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Paid(u8),
    Waiting(u64),
    Dead,
}

impl Outcome {
    fn of_store(self) -> TicketOutcome {
        match self {
            Self::Paid(n) => paid(n),
            Self::Waiting(block) => waiting(block),
            Self::Dead => dead(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Pending(u64),
    Submitted(u8),
    Paid(u8),
    Dead,
}

type Model = BTreeMap<u32, State>;

/// Tickets alternate between two rounds.
fn round(n: u32) -> Round {
    Round(u64::from(n % 2))
}

fn ticket_hash(n: u32) -> alloy_primitives::B256 {
    hash(&winner_of_round(n, round(n)))
}

/// Applies the operation to the model; `None` if the state machine forbids it.
fn apply(model: &Model, op: &Op) -> Option<Model> {
    let mut next = model.clone();
    match op {
        Op::Insert(tickets) => {
            for &n in tickets {
                next.entry(n).or_insert(State::Pending(0));
            }
        }
        Op::Submit(intent, tickets) => {
            for n in tickets {
                let state = next.get_mut(n)?;
                let State::Pending(_) = state else { return None };
                *state = State::Submitted(*intent);
            }
        }
        Op::Settle(outcomes) => {
            for (n, outcome) in outcomes {
                let state = next.get_mut(n)?;
                *state = match (*state, *outcome) {
                    (State::Pending(_) | State::Submitted(_), Outcome::Paid(tx)) => State::Paid(tx),
                    (State::Pending(_) | State::Submitted(_), Outcome::Waiting(block)) => State::Pending(block),
                    (State::Pending(_) | State::Submitted(_), Outcome::Dead) => State::Dead,
                    (State::Paid(was), Outcome::Paid(now)) if was == now => State::Paid(was),
                    _ => return None,
                };
            }
        }
        Op::Expire(oldest) => {
            for (n, state) in &mut next {
                if matches!(state, State::Pending(_)) && round(*n) < Round(*oldest) {
                    *state = State::Dead;
                }
            }
        }
    }
    Some(next)
}

async fn run(store: &Store, op: &Op) -> Result<(), StoreError> {
    match op {
        Op::Insert(tickets) => {
            let winners: Vec<_> = tickets.iter().map(|&n| winner_of_round(n, round(n))).collect();
            store.insert_winners(&winners).await.map(drop)
        }
        Op::Submit(intent, tickets) => {
            let hashes: Vec<_> = tickets.iter().map(|&n| ticket_hash(n)).collect();
            store.submit(&intent.to_string(), &hashes, 1).await
        }
        Op::Settle(outcomes) => {
            let outcomes: Vec<_> = outcomes.iter().map(|(n, o)| (ticket_hash(*n), o.of_store())).collect();
            store.settle(&outcomes, None, 1).await
        }
        Op::Expire(oldest) => store.expire_before(Round(*oldest), 1).await.map(drop),
    }
}

async fn agrees(store: &Store, model: &Model) -> Result<(), TestCaseError> {
    for n in 0..TICKETS {
        let stored = store.ticket(ticket_hash(n)).await.unwrap();
        let status = stored.map(|r| r.state.status());
        let expected = model.get(&n).map(|state| match state {
            State::Pending(_) => TicketStatus::Pending,
            State::Submitted(_) => TicketStatus::Submitted,
            State::Paid(_) => TicketStatus::Redeemed,
            State::Dead => TicketStatus::Dead,
        });
        prop_assert_eq!(status, expected);
    }
    let block = 5;
    let mut offered: Vec<_> =
        store.redeemable(block + 1_000, Round(1), 99).await.unwrap().iter().map(|r| r.hash).collect();
    offered.sort();
    let due = |(n, state): (&u32, &State)| {
        let ready = matches!(state, State::Pending(not_before) if *not_before <= block + 1_000);
        (ready && round(*n) >= Round(1)).then(|| ticket_hash(*n))
    };
    let mut expected: Vec<_> = model.iter().filter_map(due).collect();
    expected.sort();
    prop_assert_eq!(offered, expected);
    let submitted: usize = store.submitted_batches().await.unwrap().iter().map(|b| b.tickets.len()).sum();
    prop_assert_eq!(submitted, model.values().filter(|s| matches!(s, State::Submitted(_))).count());
    Ok(())
}

fn tickets() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0..TICKETS, 1..4)
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        (0..3_u8).prop_map(Outcome::Paid),
        prop_oneof![Just(0), Just(1_005), Just(2_000)].prop_map(Outcome::Waiting),
        Just(Outcome::Dead)
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        tickets().prop_map(Op::Insert),
        (0..3_u8, tickets()).prop_map(|(intent, tickets)| Op::Submit(intent, tickets)),
        prop::collection::vec((0..TICKETS, outcome()), 1..4).prop_map(Op::Settle),
        (0..3_u64).prop_map(Op::Expire),
    ]
}

/// Runs the operations on an empty store and on the model.
fn follows_the_state_machine<F>(ops: &[Op], store: F) -> Result<(), TestCaseError>
where
    F: Future<Output = Store>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = store.await;
        let mut model = Model::new();
        for op in ops {
            let next = apply(&model, op);
            let result = run(&store, op).await;
            match (&next, &result) {
                (Some(_), Ok(())) => {}
                (None, Err(StoreError::IllegalTransition { .. } | StoreError::UnknownTicket(_))) => {}
                _ => prop_assert!(false, "{op:?} on {model:?} gave {result:?}"),
            }
            model = next.unwrap_or(model);
            agrees(&store, &model).await?;
        }
        store.close().await;
        Ok(())
    })
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn any_sequence_of_operations_follows_the_state_machine(ops in prop::collection::vec(op(), 1..25)) {
        follows_the_state_machine(&ops, async { Store::in_memory().await.unwrap() })?;
    }
}

proptest! {
    #![proptest_config(config(20))]

    #[test]
    fn any_sequence_of_operations_follows_the_state_machine_on_postgres(ops in prop::collection::vec(op(), 1..25)) {
        let database = Database::postgres().unwrap();
        follows_the_state_machine(&ops, open(&database))?;
    }
}
