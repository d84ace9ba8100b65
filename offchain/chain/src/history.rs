//! Recognises reorganisations: a bounded stack of the newest blocks, compared by parent hash. No I/O.
//!
//! Shapes: forward (new blocks on our tip), sideways (another branch of the same or greater height), backward (the head
//! falls back to an ancestor), and deeper than the history, after which consumers must read the chain anew.
use std::{collections::VecDeque, sync::Arc};

use alloy::{primitives::B256, rpc::types::Log};

/// What we keep of a block's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// Height in the node's chain.
    pub number: u64,
    /// The block's hash.
    pub hash: B256,
    /// Hash of its parent.
    pub parent_hash: B256,
    /// Seconds since 1970.
    pub timestamp: u64,
    /// Wei per gas; 0 where the chain has no base fee.
    pub base_fee: u128,
    /// `block.number` as contracts see it: the L1 block on Arbitrum, else `number`.
    pub contract_number: u64,
}

/// What happened to the chain. Logs are in order of their index and belong to the followed contracts.
#[derive(Clone, Debug)]
pub enum BlockEvent {
    /// The block became the head.
    Added { block: BlockHeader, logs: Arc<[Log]> },
    /// The block, until now the head, is no longer in the chain; undo its logs.
    Removed { block: BlockHeader, logs: Arc<[Log]> },
    /// Events are missing: at the start, after a gap or reorganisation that the history does not cover, or because the
    /// consumer was too slow. Read the state of the chain anew, then go on.
    HistoryLost,
    /// All events that lead to this head have been told.
    Head(BlockHeader),
}

/// A block with the logs of the followed contracts.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) header: BlockHeader,
    pub(crate) logs: Arc<[Log]>,
}

/// How a branch, given newest first, joins the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    /// The head is our tip: nothing happened.
    Unchanged,
    /// The head is an older block of ours.
    Backward,
    /// The branch grows from a block of ours, our tip or below.
    Joined,
    /// The parent of the branch's oldest block is needed to tell.
    NeedsParent(B256),
    /// The branch leaves our chain before the oldest block we know, or is longer than we keep.
    Lost,
}

/// The newest blocks of the chain as we last saw it, oldest first.
#[derive(Debug)]
pub(crate) struct History {
    blocks: VecDeque<Block>,
    capacity: usize,
}

impl History {
    /// Keeps at most `capacity` blocks, at least two.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { blocks: VecDeque::new(), capacity: capacity.max(2) }
    }

    pub(crate) fn tip(&self) -> Option<&BlockHeader> {
        self.blocks.back().map(|block| &block.header)
    }

    /// Compares `branch` (newest first, each the parent of the one before, never empty) with what we know.
    pub(crate) fn join(&self, branch: &[BlockHeader]) -> Join {
        let (Some(head), Some(root)) = (branch.first(), branch.last()) else { return Join::Unchanged };
        let (Some(tip), Some(oldest)) = (self.tip(), self.blocks.front()) else { return Join::Lost };
        if head.hash == tip.hash {
            return Join::Unchanged;
        }
        if branch.len() == 1 && self.position(head.hash).is_some() {
            return Join::Backward;
        }
        if self.position(root.parent_hash).is_some() {
            return Join::Joined;
        }
        let too_long = branch.len() >= self.capacity || root.number > tip.number.saturating_add(self.capacity as u64);
        if too_long || root.number <= oldest.header.number.saturating_add(1) {
            return Join::Lost;
        }
        Join::NeedsParent(root.parent_hash)
    }

    /// Drops every block above `ancestor`, newest first, then adds `branch`, oldest first.
    pub(crate) fn advance(&mut self, ancestor: B256, branch: Vec<Block>) -> Vec<BlockEvent> {
        let mut events = Vec::new();
        while self.tip().is_some_and(|tip| tip.hash != ancestor) {
            if let Some(Block { header, logs }) = self.blocks.pop_back() {
                events.push(BlockEvent::Removed { block: header, logs });
            }
        }
        for block in branch {
            events.push(BlockEvent::Added { block: block.header, logs: block.logs.clone() });
            self.push(block);
        }
        events
    }

    /// Forgets everything and goes on from `head`.
    pub(crate) fn restart(&mut self, head: Block) -> Vec<BlockEvent> {
        self.blocks.clear();
        let added = BlockEvent::Added { block: head.header, logs: head.logs.clone() };
        self.push(head);
        vec![BlockEvent::HistoryLost, added]
    }

    fn position(&self, hash: B256) -> Option<usize> {
        self.blocks.iter().rposition(|block| block.header.hash == hash)
    }

    fn push(&mut self, block: Block) {
        if self.blocks.len() == self.capacity {
            self.blocks.pop_front();
        }
        self.blocks.push_back(block);
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::keccak256;
    use proptest::prelude::*;

    use super::*;

    /// A chain that can fork: the hash of a block depends on its parent and on the branch it was made on.
    fn child(parent: &BlockHeader, branch: u8) -> BlockHeader {
        let number = parent.number + 1;
        let hash = keccak256([parent.hash.as_slice(), &[branch]].concat());
        BlockHeader { number, hash, parent_hash: parent.hash, timestamp: number, base_fee: 7, contract_number: number }
    }

    fn genesis(number: u64) -> BlockHeader {
        let hash = keccak256(number.to_be_bytes());
        BlockHeader { number, hash, parent_hash: B256::ZERO, timestamp: 0, base_fee: 7, contract_number: number }
    }

    fn extend(chain: &mut Vec<BlockHeader>, blocks: usize, branch: u8) {
        for _ in 0..blocks {
            let next = child(chain.last().unwrap(), branch);
            chain.push(next);
        }
    }

    fn block(header: BlockHeader) -> Block {
        Block { header, logs: Arc::new([]) }
    }

    /// Does what the follower does, with `chain` in place of the node.
    fn follow(history: &mut History, chain: &[BlockHeader]) -> Vec<BlockEvent> {
        let mut branch = vec![*chain.last().unwrap()];
        loop {
            match history.join(&branch) {
                Join::Unchanged => return Vec::new(),
                Join::Backward => return history.advance(branch[0].hash, Vec::new()),
                Join::Lost => return history.restart(block(branch[0])),
                Join::NeedsParent(hash) => branch.push(*chain.iter().find(|header| header.hash == hash).unwrap()),
                Join::Joined => {
                    let ancestor = branch.last().unwrap().parent_hash;
                    return history.advance(ancestor, branch.into_iter().rev().map(block).collect());
                }
            }
        }
    }

    /// A consumer: keeps exactly the numbers of blocks that events left in the chain.
    fn replay(seen: &mut Vec<BlockHeader>, events: &[BlockEvent]) {
        for event in events {
            match event {
                BlockEvent::HistoryLost => seen.clear(),
                BlockEvent::Head(_) => {}
                BlockEvent::Added { block, .. } => {
                    assert!(seen.last().is_none_or(|last| last.hash == block.parent_hash), "a parent is missing");
                    seen.push(*block);
                }
                BlockEvent::Removed { block, .. } => assert_eq!(seen.pop().map(|last| last.hash), Some(block.hash)),
            }
        }
    }

    fn kinds(events: &[BlockEvent]) -> String {
        let kind = |event: &BlockEvent| match event {
            BlockEvent::Added { .. } => '+',
            BlockEvent::Removed { .. } => '-',
            BlockEvent::HistoryLost => '!',
            BlockEvent::Head(_) => '=',
        };
        events.iter().map(kind).collect()
    }

    fn started(length: usize, capacity: usize) -> (History, Vec<BlockHeader>) {
        let mut chain = vec![genesis(10)];
        let mut history = History::new(capacity);
        assert_eq!(kinds(&follow(&mut history, &chain)), "!+");
        extend(&mut chain, length, 0);
        follow(&mut history, &chain);
        (history, chain)
    }

    #[test]
    fn forward_adds_every_block_of_a_gap_in_order() {
        let (mut history, mut chain) = started(3, 16);
        extend(&mut chain, 4, 0);
        let events = follow(&mut history, &chain);
        assert_eq!(kinds(&events), "++++");
        let numbers = events.iter().map(|event| match event {
            BlockEvent::Added { block, .. } => block.number,
            _ => 0,
        });
        assert_eq!(numbers.collect::<Vec<_>>(), [14, 15, 16, 17]);
        assert_eq!(kinds(&follow(&mut history, &chain)), "");
    }

    #[test]
    fn sideways_removes_newest_first_then_adds() {
        let (mut history, mut chain) = started(5, 16);
        chain.truncate(chain.len() - 2);
        extend(&mut chain, 3, 1);
        let events = follow(&mut history, &chain);
        assert_eq!(kinds(&events), "--+++");
        assert!(matches!(events[0], BlockEvent::Removed { block, .. } if block.number == 15));
        assert!(matches!(events[2], BlockEvent::Added { block, .. } if block.number == 14));
    }

    #[test]
    fn shorter_branch_is_followed_too() {
        let (mut history, mut chain) = started(5, 16);
        chain.truncate(chain.len() - 3);
        extend(&mut chain, 1, 1);
        assert_eq!(kinds(&follow(&mut history, &chain)), "---+");
    }

    #[test]
    fn backward_only_removes() {
        let (mut history, mut chain) = started(5, 16);
        chain.truncate(chain.len() - 2);
        assert_eq!(kinds(&follow(&mut history, &chain)), "--");
        assert_eq!(history.tip().map(|tip| tip.number), Some(13));
    }

    #[test]
    fn deeper_than_history_is_told() {
        let (mut history, mut chain) = started(20, 4);
        chain.truncate(chain.len() - 10);
        extend(&mut chain, 12, 1);
        assert_eq!(kinds(&follow(&mut history, &chain)), "!+");
        extend(&mut chain, 1, 1);
        assert_eq!(kinds(&follow(&mut history, &chain)), "+");
    }

    #[test]
    fn gap_longer_than_history_is_told_without_walking_it() {
        let (mut history, mut chain) = started(3, 8);
        extend(&mut chain, 100, 0);
        assert_eq!(history.join(&[*chain.last().unwrap()]), Join::Lost);
        assert_eq!(kinds(&follow(&mut history, &chain)), "!+");
    }

    proptest! {
        /// Whatever the chain does, replaying the events gives the end of the real chain.
        #[test]
        fn replayed_events_equal_the_chain(steps in prop::collection::vec((0usize..8, 0usize..10, any::<u8>()), 1..60)) {
            let mut chain = vec![genesis(1)];
            let mut history = History::new(6);
            let mut seen = Vec::new();
            for (drop, grow, branch) in steps {
                chain.truncate(chain.len().saturating_sub(drop).max(1));
                extend(&mut chain, grow, branch);
                replay(&mut seen, &follow(&mut history, &chain));
                prop_assert!(!seen.is_empty());
                prop_assert!(chain.ends_with(&seen), "the consumer holds a block that is not in the chain");
            }
        }
    }
}
