//! Open connections of one port, counted in all and by address.
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many connections a port may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MostConnections {
    pub(crate) all: usize,
    pub(crate) of_one_address: usize,
}

/// Those there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection among those there are; gives its place back when dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    open: Connections,
    address: IpAddr,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().values().sum()
    }

    /// Counts one more, unless there are too many.
    pub(crate) fn admit(&self, address: IpAddr, most: MostConnections) -> Option<Connection> {
        let mut open = self.lock();
        let all: usize = open.values().sum();
        let from_here = open.get(&address).copied().unwrap_or_default();
        if all >= most.all || from_here >= most.of_one_address {
            return None;
        }
        open.insert(address, from_here + 1);
        Some(Connection { open: self.clone(), address })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_bounded_in_all_and_by_address() {
        let (open, most) = (Connections::default(), MostConnections { all: 3, of_one_address: 2 });
        let address = |last| IpAddr::from([10, 0, 0, last]);
        let first = open.admit(address(1), most).unwrap();
        let _second = open.admit(address(1), most).unwrap();
        assert!(open.admit(address(1), most).is_none());
        let _third = open.admit(address(2), most).unwrap();
        assert!(open.admit(address(3), most).is_none());
        drop(first);
        assert_eq!(open.count(), 2);
        assert!(open.admit(address(1), most).is_some());
    }
}
