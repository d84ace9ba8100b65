//! Logs from the head backward, in ranges that the node takes.
use alloy::{
    rpc::types::{Filter, Log},
    transports::{TransportError, TransportErrorKind},
};
use futures::{StreamExt, TryStreamExt, stream};

use super::REQUESTS;
use crate::{Chain, ChainError};

/// Blocks asked for at first.
const FIRST_SPAN: u64 = 10_000;
/// Blocks asked for at most.
const LARGEST_SPAN: u64 = 1_000_000;
/// A shorter range that is not answered in time is not refused for its length.
const PATIENT_SPAN: u64 = 1_000;

/// Logs that match `filter` up to block `head`, in order, read backward until `enough` says so of what came last.
pub(super) async fn backward(
    chain: &Chain,
    filter: &Filter,
    head: u64,
    mut enough: impl FnMut(&[Log]) -> bool,
) -> Result<Vec<Log>, ChainError> {
    let mut span = Span { blocks: FIRST_SPAN, most: LARGEST_SPAN };
    let mut found = Vec::new();
    let mut end = Some(head);
    while let Some(last) = end {
        let ranges = span.ranges(last);
        let answers: Vec<Answer> = stream::iter(&ranges)
            .map(|&(begin, end)| logs_of(chain, filter, begin, end))
            .buffered(REQUESTS)
            .try_collect()
            .await?;
        span.learn(answers.iter().filter_map(|answer| answer.taken).min());
        end = ranges.last().and_then(|(begin, _)| begin.checked_sub(1));
        let read = found.len();
        found.extend(answers.into_iter().flat_map(|answer| answer.logs));
        if enough(&found[read..]) {
            break;
        }
    }
    found.sort_by_key(|log: &Log| (log.block_number, log.log_index));
    Ok(found)
}

/// How many blocks a node answers for at once, as far as we know.
#[derive(Clone, Copy, Debug)]
struct Span {
    blocks: u64,
    most: u64,
}

impl Span {
    /// Ranges that end at `last`, newest first.
    fn ranges(self, last: u64) -> Vec<(u64, u64)> {
        let mut ranges = Vec::new();
        let mut end = Some(last);
        while let Some(last) = end.filter(|_| ranges.len() < REQUESTS) {
            let begin = last.saturating_sub(self.blocks - 1);
            ranges.push((begin, last));
            end = begin.checked_sub(1);
        }
        ranges
    }

    /// `taken` is the length to which the node made us cut ranges; `None` if it took all whole.
    fn learn(&mut self, taken: Option<u64>) {
        match taken {
            Some(taken) => (self.blocks, self.most) = (taken, taken),
            None => self.blocks = self.blocks.saturating_mul(2).min(self.most),
        }
    }
}

struct Answer {
    logs: Vec<Log>,
    /// Length to which ranges were cut; `None` if none was.
    taken: Option<u64>,
}

/// Logs of blocks `begin..=end`, in halves if the node refuses so many.
async fn logs_of(chain: &Chain, filter: &Filter, begin: u64, end: u64) -> Result<Answer, ChainError> {
    let mut answer = Answer { logs: Vec::new(), taken: None };
    let mut ranges = vec![(begin, end)];
    while let Some((begin, end)) = ranges.pop() {
        match chain.rpc.logs(&filter.clone().from_block(begin).to_block(end)).await {
            Ok(logs) => answer.logs.extend(logs),
            Err(err) if begin < end && is_too_much(&err, end - begin) => {
                let middle = begin + (end - begin) / 2;
                ranges.push((middle + 1, end));
                ranges.push((begin, middle));
                let half = middle - begin + 1;
                answer.taken = Some(answer.taken.map_or(half, |taken| taken.min(half)));
            }
            Err(err) => return Err(err),
        }
    }
    Ok(answer)
}

/// Whether a shorter range may be answered. Nodes refuse long ones with an error, with a status of HTTP, or not in time.
fn is_too_much(err: &ChainError, span: u64) -> bool {
    match err {
        ChainError::Refused { .. } => true,
        ChainError::Unreachable { source: TransportError::Transport(kind), .. } => match kind {
            TransportErrorKind::HttpError(http) => matches!(http.status, 400 | 413 | 503 | 504),
            TransportErrorKind::Custom(cause) => {
                span >= PATIENT_SPAN && cause.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_timeout)
            }
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_meet_and_end_at_the_first_block() {
        let span = Span { blocks: 10, most: 100 };
        assert_eq!(span.ranges(24), [(15, 24), (5, 14), (0, 4)]);
        assert_eq!(span.ranges(9), [(0, 9)]);
        assert_eq!(span.ranges(1_000).len(), REQUESTS);
    }

    #[test]
    fn a_span_grows_until_it_is_refused() {
        let mut span = Span { blocks: 10, most: 100 };
        for wanted in [20, 40, 80, 100, 100] {
            span.learn(None);
            assert_eq!(span.blocks, wanted);
        }
        span.learn(Some(50));
        span.learn(None);
        assert_eq!(span.blocks, 50, "what was refused once is not tried again");
    }
}
