//! Renditions that were looked at already: the same bytes need no second look.
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use alloy_primitives::{B256, keccak256};
use streamflow_media::{Comparison, Inspection};

/// What is remembered.
const MOST: usize = 64;

/// What a look at some bytes showed.
#[derive(Clone, Debug)]
pub(crate) enum Looked {
    /// Decoded.
    Inspected(Inspection),
    /// Compared with its source as well.
    Compared(Box<Comparison>),
}

/// The newest looks.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<VecDeque<(B256, Looked)>>);

impl Seen {
    pub(crate) fn get(&self, key: B256) -> Option<Looked> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().find(|(known, _)| *known == key).map(|(_, looked)| looked.clone())
    }

    pub(crate) fn put(&self, key: B256, looked: Looked) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() == MOST {
            seen.pop_front();
        }
        seen.push_back((key, looked));
    }
}

/// Names what was looked at: some bytes, alone or beside their source.
pub(crate) fn key(parts: &[&[u8]]) -> B256 {
    keccak256(parts.iter().flat_map(|part| keccak256(part).0).collect::<Vec<_>>())
}
