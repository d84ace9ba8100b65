//! What senders have in TicketBroker: read once at a pinned block, then kept up to date by events.
use std::{
    collections::{BTreeMap, HashMap},
    ops::RangeInclusive,
    sync::Arc,
};

use alloy::{
    eips::BlockId,
    primitives::{Address, U256},
    rpc::types::Log,
    sol_types::SolEventInterface,
};
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use streamflow_bindings::{AddressBook, TicketBroker, ticket_broker::TicketBroker::TicketBrokerEvents as Event};
use streamflow_types::{Round, SenderFunds};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    BlockEvent, BlockFeed, BlockHeader, BlockStream, Chain, ChainConfig, ChainError, Rpc,
    number::to_u64,
    round::{changes_round_or_pool, pool_size},
};

/// Questions that may wait; more of them wait with their askers.
const QUEUE: usize = 256;
/// Readings of the chain at the same time.
const READS: usize = 32;

type Answer = Result<SenderFunds, ChainError>;
/// A sender, and the recipient from whose side it is seen.
type Pair = (Address, Address);

#[derive(Debug)]
struct Question {
    pair: Pair,
    answer: oneshot::Sender<Answer>,
}

/// Asks for senders' funds. Cheap to clone.
///
/// Answers are of the newest block that the follower knows; while the node is away they age (see [`BlockFeed::health`]).
#[derive(Clone, Debug)]
pub struct SenderMonitor {
    inbox: mpsc::Sender<Question>,
}

impl SenderMonitor {
    /// The handle, and the task that must run for it to answer.
    pub fn new(chain: &Chain, config: &ChainConfig, feed: &BlockFeed) -> (Self, SenderMonitorTask) {
        let (inbox, questions) = mpsc::channel(QUEUE);
        let task = SenderMonitorTask {
            reader: Reader { rpc: chain.rpc.clone(), contracts: chain.contracts },
            questions,
            events: feed.subscribe(),
            head: None,
            known: Cache::new(config.max_senders),
            reading: HashMap::new(),
            reads: FuturesUnordered::new(),
        };
        (Self { inbox }, task)
    }

    /// What `sender` has, as `claimant` sees it. Seen from itself, what it has committed to anybody counts.
    ///
    /// # Errors
    ///
    /// [`ChainError::NotSynced`] before the first block; else the chain cannot be read.
    pub async fn funds(&self, sender: Address, claimant: Address) -> Answer {
        let (answer, answered) = oneshot::channel();
        let question = Question { pair: (sender, claimant), answer };
        self.inbox.send(question).await.map_err(|_| ChainError::Stopped)?;
        answered.await.map_err(|_| ChainError::Stopped)?
    }
}

/// One reading of the chain.
type Reading = BoxFuture<'static, (Pair, u64, Answer)>;

/// A reading under way.
#[derive(Debug, Default)]
struct Pending {
    waiting: Vec<oneshot::Sender<Answer>>,
    /// Something happened to the sender since the reading began: read again.
    stale: bool,
}

/// Owner of the funds known.
pub struct SenderMonitorTask {
    reader: Reader,
    questions: mpsc::Receiver<Question>,
    events: BlockStream,
    head: Option<BlockHeader>,
    known: Cache,
    reading: HashMap<Pair, Pending>,
    reads: FuturesUnordered<Reading>,
}

impl std::fmt::Debug for SenderMonitorTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SenderMonitorTask")
            .field("head", &self.head)
            .field("reading", &self.reading)
            .finish_non_exhaustive()
    }
}

impl SenderMonitorTask {
    /// Answers until `stop`, or until the block follower or every handle is gone.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            // Events before questions: an answer is never older than what the follower told.
            tokio::select! { biased;
                () = stop.cancelled() => return,
                event = self.events.next() => match event {
                    Some(event) => self.apply(&event),
                    None => return,
                },
                Some((pair, at, answer)) = self.reads.next() => self.finish(pair, at, answer),
                question = self.questions.recv(), if self.reads.len() < READS => match question {
                    Some(question) => self.ask(question),
                    None => return,
                },
            }
        }
    }

    fn ask(&mut self, Question { pair, answer }: Question) {
        if let Some(funds) = self.known.get(pair) {
            let _ = answer.send(Ok(funds));
            return;
        }
        let Some(head) = self.head else {
            let _ = answer.send(Err(ChainError::NotSynced));
            return;
        };
        let pending = self.reading.entry(pair).or_default();
        pending.waiting.push(answer);
        if pending.waiting.len() == 1 {
            self.reads.push(self.reader.clone().read(pair, head));
        }
    }

    fn finish(&mut self, pair: Pair, at: u64, answer: Answer) {
        let Some(mut pending) = self.reading.remove(&pair) else { return };
        if let (true, Some(head)) = (pending.stale, self.head) {
            pending.stale = false;
            self.reading.insert(pair, pending);
            self.reads.push(self.reader.clone().read(pair, head));
            return;
        }
        if let Ok(funds) = answer {
            self.known.insert(pair, Known { at, funds, used: 0 });
        }
        let answer = answer.map_err(Arc::new);
        for waiting in pending.waiting {
            let _ = waiting.send(answer.clone().map_err(ChainError::Shared));
        }
    }

    fn apply(&mut self, event: &BlockEvent) {
        let contracts = self.reader.contracts;
        match event {
            BlockEvent::HistoryLost => self.forget_all(),
            BlockEvent::Head(head) => self.head = Some(*head),
            BlockEvent::Added { logs, .. } | BlockEvent::Removed { logs, .. }
                if logs.iter().any(|log| changes_round_or_pool(&contracts, log)) =>
            {
                self.forget_all();
            }
            BlockEvent::Removed { logs, .. } => {
                for (sender, _) in broker_events(&contracts, logs) {
                    self.forget(sender);
                }
            }
            BlockEvent::Added { block, logs } => {
                for (sender, event) in broker_events(&contracts, logs) {
                    self.mark_stale(sender);
                    self.known.patch(sender, block.number, &event);
                }
            }
        }
    }

    fn forget_all(&mut self) {
        self.known.clear();
        self.reading.values_mut().for_each(|pending| pending.stale = true);
    }

    fn forget(&mut self, sender: Address) {
        self.known.remove(sender);
        self.mark_stale(sender);
    }

    fn mark_stale(&mut self, sender: Address) {
        for (_, pending) in self.reading.iter_mut().filter(|((of, _), _)| *of == sender) {
            pending.stale = true;
        }
    }
}

/// The events of TicketBroker that change a sender's funds, with the sender.
fn broker_events(contracts: &AddressBook, logs: &[Log]) -> impl Iterator<Item = (Address, Event)> {
    let broker = contracts.ticket_broker;
    logs.iter().filter(move |log| log.address() == broker).filter_map(|log| {
        let event = Event::decode_log(&log.inner).ok()?.data;
        let sender = match &event {
            Event::DepositFunded(event) => event.sender,
            Event::ReserveFunded(event) => event.reserveHolder,
            Event::ReserveClaimed(event) => event.reserveHolder,
            Event::WinningTicketTransfer(event) => event.sender,
            Event::Unlock(event) => event.sender,
            Event::UnlockCancelled(event) => event.sender,
            Event::Withdrawal(event) => event.sender,
            Event::ReserveCommitted(event) => event.sender,
            Event::ReserveReleaseStarted(event) => event.sender,
            Event::CommittedReserveWithdrawn(event) => event.sender,
            Event::CommittedReserveClaimed(event) => event.sender,
            _ => return None,
        };
        Some((sender, event))
    })
}

/// The funds after `event`; `None` if it does not fit them, so that they must be read anew.
fn patched(mut funds: SenderFunds, claimant: Address, event: &Event) -> Option<SenderFunds> {
    let concerns = |sender, recipient| claimant == recipient || claimant == sender;
    match event {
        Event::DepositFunded(event) => funds.deposit = funds.deposit.checked_add(event.amount)?,
        Event::ReserveFunded(event) => funds.reserve = funds.reserve.checked_add(event.amount)?,
        // Told before the transfer of the same ticket, which counts this amount once more: it passes through the deposit.
        Event::ReserveClaimed(event) => {
            funds.reserve = funds.reserve.checked_sub(event.amount)?;
            funds.claimed_in_current_round = funds.claimed_in_current_round.checked_add(event.amount)?;
            funds.deposit = funds.deposit.checked_add(event.amount)?;
            if event.claimant == claimant {
                funds.claimed_by_recipient = funds.claimed_by_recipient.checked_add(event.amount)?;
            }
        }
        Event::ReserveCommitted(event) if concerns(event.sender, event.recipient) => {
            funds.committed = funds.committed.checked_add(event.amount)?;
        }
        Event::ReserveCommitted(_) => {}
        // As a claim of the common reserve; what a release leaves of a commitment after a claim is read anew.
        Event::CommittedReserveClaimed(event) if !concerns(event.sender, event.recipient) => {
            funds.deposit = funds.deposit.checked_add(event.amount)?;
        }
        Event::ReserveReleaseStarted(event) if !concerns(event.sender, event.recipient) => {}
        Event::CommittedReserveWithdrawn(event) if !concerns(event.sender, event.recipient) => {}
        Event::WinningTicketTransfer(event) => funds.deposit = funds.deposit.checked_sub(event.amount)?,
        Event::Unlock(event) => funds.withdraw_round = Round(to_u64(event.endRound, "the withdraw round").ok()?),
        Event::UnlockCancelled(_) => funds.withdraw_round = Round(0),
        // Deployments differ in what a withdrawal leaves of the unlock (contracts.md §2.4).
        _ => return None,
    }
    Some(funds)
}

#[derive(Clone, Copy, Debug)]
struct Known {
    /// Number of the block it was read at.
    at: u64,
    funds: SenderFunds,
    /// When it was last asked for, in questions answered.
    used: u64,
}

/// Funds by sender and claimant; the least recently asked for goes first.
#[derive(Debug)]
struct Cache {
    entries: BTreeMap<Pair, Known>,
    limit: usize,
    clock: u64,
}

impl Cache {
    fn new(limit: usize) -> Self {
        Self { entries: BTreeMap::new(), limit: limit.max(1), clock: 0 }
    }

    fn get(&mut self, pair: Pair) -> Option<SenderFunds> {
        self.clock += 1;
        let entry = self.entries.get_mut(&pair)?;
        entry.used = self.clock;
        Some(entry.funds)
    }

    fn insert(&mut self, pair: Pair, known: Known) {
        if self.entries.len() >= self.limit && !self.entries.contains_key(&pair) {
            let oldest = self.entries.iter().min_by_key(|(_, known)| known.used).map(|(pair, _)| *pair);
            oldest.map(|pair| self.entries.remove(&pair));
        }
        self.clock += 1;
        self.entries.insert(pair, Known { used: self.clock, ..known });
    }

    /// An event of a block that the reading already covers means that the chain changed below it: read anew.
    fn patch(&mut self, sender: Address, block: u64, event: &Event) {
        let mut unfit = false;
        for ((_, claimant), known) in self.entries.range_mut(pairs_of(sender)) {
            match patched(known.funds, *claimant, event) {
                Some(funds) if block > known.at => known.funds = funds,
                _ => unfit = true,
            }
        }
        if unfit {
            self.remove(sender);
        }
    }

    fn remove(&mut self, sender: Address) {
        self.entries.retain(|(of, _), _| *of != sender);
    }

    fn clear(&mut self) {
        self.entries.clear();
    }
}

fn pairs_of(sender: Address) -> RangeInclusive<Pair> {
    (sender, Address::ZERO)..=(sender, Address::repeat_byte(0xff))
}

#[derive(Clone, Debug)]
struct Reader {
    rpc: Rpc,
    contracts: AddressBook,
}

impl Reader {
    fn read(self, pair: Pair, head: BlockHeader) -> Reading {
        Box::pin(async move { (pair, head.number, self.funds(pair, &head).await) })
    }

    /// Every part at the same block.
    async fn funds(&self, (sender, claimant): Pair, head: &BlockHeader) -> Answer {
        let at = BlockId::from(head.hash);
        let broker = self.contracts.ticket_broker;
        let (info, claimed, pool_size, committed) = tokio::try_join!(
            self.rpc.view(broker, TicketBroker::getSenderInfoCall { addr: sender }, at),
            self.rpc.view(broker, TicketBroker::claimedReserveCall { reserveHolder: sender, claimant }, at),
            pool_size(&self.rpc, &self.contracts, at),
            self.committed(sender, claimant, at),
        )?;
        Ok(SenderFunds {
            deposit: info.sender.deposit,
            withdraw_round: Round(to_u64(info.sender.withdrawRound, "the withdraw round")?),
            reserve: info.reserve.fundsRemaining,
            claimed_in_current_round: info.reserve.claimedInCurrentRound,
            claimed_by_recipient: claimed,
            pool_size,
            committed,
        })
    }

    /// What stays committed to the recipient when a release that is under way is over, or to anybody if the sender itself asks.
    /// The deployed network's broker knows no commitments and refuses the question.
    async fn committed(&self, sender: Address, recipient: Address, at: BlockId) -> Result<U256, ChainError> {
        let broker = self.contracts.ticket_broker;
        let committed = if sender == recipient {
            self.rpc.view(broker, TicketBroker::committedReserveOfCall { sender }, at).await
        } else {
            let commitment =
                self.rpc.view(broker, TicketBroker::getCommittedReserveCall { sender, recipient }, at).await;
            commitment.map(|commitment| commitment.funds.saturating_sub(commitment.releasing))
        };
        match committed {
            Err(ChainError::Reverted { .. }) => Ok(U256::ZERO),
            committed => committed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDER: Address = Address::repeat_byte(1);
    const RECIPIENT: Address = Address::repeat_byte(2);

    fn funds(deposit: u64, reserve: u64) -> SenderFunds {
        SenderFunds { deposit: U256::from(deposit), reserve: U256::from(reserve), pool_size: 2, ..Default::default() }
    }

    fn transfer(amount: u64) -> Event {
        Event::WinningTicketTransfer(TicketBroker::WinningTicketTransfer {
            sender: SENDER,
            recipient: RECIPIENT,
            amount: U256::from(amount),
        })
    }

    fn claim(amount: u64) -> Event {
        Event::ReserveClaimed(TicketBroker::ReserveClaimed {
            reserveHolder: SENDER,
            claimant: RECIPIENT,
            amount: U256::from(amount),
        })
    }

    #[test]
    fn payout_from_the_reserve_empties_the_deposit() {
        let after = [claim(30), transfer(130)]
            .iter()
            .try_fold(funds(100, 80), |funds, event| patched(funds, RECIPIENT, event))
            .unwrap();
        assert_eq!((after.deposit, after.reserve), (U256::ZERO, U256::from(50)));
        assert_eq!((after.claimed_in_current_round, after.claimed_by_recipient), (U256::from(30), U256::from(30)));
    }

    #[test]
    fn claim_of_another_recipient_is_not_ours() {
        let after = patched(funds(0, 80), Address::ZERO, &claim(30)).unwrap();
        assert_eq!((after.claimed_in_current_round, after.claimed_by_recipient), (U256::from(30), U256::ZERO));
    }

    #[test]
    fn commitment_counts_for_the_recipient_it_names() {
        let commit = Event::ReserveCommitted(TicketBroker::ReserveCommitted {
            sender: SENDER,
            recipient: RECIPIENT,
            amount: U256::from(9),
        });
        assert_eq!(patched(funds(1, 1), RECIPIENT, &commit).unwrap().committed, U256::from(9));
        assert_eq!(patched(funds(1, 1), Address::ZERO, &commit).unwrap().committed, U256::ZERO);
        assert_eq!(patched(funds(1, 1), SENDER, &commit).unwrap().committed, U256::from(9), "its own");
        let claim = Event::CommittedReserveClaimed(TicketBroker::CommittedReserveClaimed {
            sender: SENDER,
            recipient: RECIPIENT,
            amount: U256::from(9),
        });
        assert_eq!(patched(funds(1, 1), RECIPIENT, &claim), None, "a release may be under way");
        let after = [claim, transfer(10)].iter().try_fold(funds(1, 1), |f, event| patched(f, Address::ZERO, event));
        assert_eq!(after.unwrap().deposit, U256::ZERO);
    }

    #[test]
    fn event_that_does_not_fit_makes_the_entry_unknown() {
        assert_eq!(patched(funds(1, 0), RECIPIENT, &transfer(2)), None);
        let mut cache = Cache::new(2);
        cache.insert((SENDER, RECIPIENT), Known { at: 5, funds: funds(10, 0), used: 0 });
        cache.patch(SENDER, 6, &transfer(3));
        assert_eq!(cache.get((SENDER, RECIPIENT)).map(|funds| funds.deposit), Some(U256::from(7)));
        cache.patch(SENDER, 5, &transfer(3));
        assert_eq!(cache.get((SENDER, RECIPIENT)), None);
    }

    #[test]
    fn cache_forgets_the_least_recently_asked() {
        let mut cache = Cache::new(2);
        let pair = |byte| (Address::repeat_byte(byte), RECIPIENT);
        for byte in [1, 2] {
            cache.insert(pair(byte), Known { at: 1, funds: funds(byte.into(), 0), used: 0 });
        }
        assert!(cache.get(pair(1)).is_some());
        cache.insert(pair(3), Known { at: 1, funds: funds(3, 0), used: 0 });
        assert!(cache.get(pair(1)).is_some() && cache.get(pair(2)).is_none() && cache.get(pair(3)).is_some());
    }
}
