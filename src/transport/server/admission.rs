//! Whom the auth port answers, and how many at once.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::core::address::AddressSet;
use crate::metrics::{Connections, TurnedAway};

/// Who may ask, and how many connections may be open.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Those of other addresses are answered 403, and nothing is judged.
    peers: AddressSet,
    places: Arc<Semaphore>,
    metrics: Connections,
}

/// Everybody, and as many as come.
impl Default for Admission {
    fn default() -> Self {
        Self::new(AddressSet::default(), usize::MAX, Connections::default())
    }
}

impl Admission {
    #[must_use]
    pub fn new(peers: AddressSet, max_connections: usize, metrics: Connections) -> Self {
        let places = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
        Self { peers, places, metrics }
    }

    /// A place for one more connection, if there is one.
    pub(super) fn place(&self) -> Option<Place> {
        let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() else {
            self.turn_away(TurnedAway::Full);
            return None;
        };
        self.metrics.opened();
        Some(Place { metrics: self.metrics.clone(), _permit: permit })
    }

    /// The same for those only whose requests are judged.
    pub(in crate::transport) fn place_for(&self, peer: IpAddr) -> Option<Place> {
        if self.may_ask(peer) {
            return self.place();
        }
        self.turn_away(TurnedAway::Peer);
        None
    }

    /// Whether requests from there are judged.
    pub(super) fn may_ask(&self, peer: IpAddr) -> bool {
        self.peers.admits(peer)
    }

    pub(super) fn turn_away(&self, reason: TurnedAway) {
        self.metrics.turned_away(reason);
    }
}

/// Of one connection; free again when dropped.
#[derive(Debug)]
pub(in crate::transport) struct Place {
    metrics: Connections,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.closed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_connections_are_open_than_may_be() {
        let admission = Admission::new(AddressSet::default(), 2, Connections::default());
        let (first, second) = (admission.place(), admission.place());
        assert!(second.is_some() && admission.place().is_none());
        drop(first);
        assert!(admission.place().is_some());
    }

    #[test]
    fn without_a_list_everybody_may_ask() {
        let may_ask = |peers: &[&str], peer: &str| {
            let peers = AddressSet::parse(peers).unwrap();
            Admission::new(peers, 1, Connections::default()).may_ask(peer.parse().unwrap())
        };
        assert!(may_ask(&[], "192.0.2.1"));
        assert!(may_ask(&["10.0.0.0/8", "fd00::/8"], "::ffff:10.1.2.3"));
        assert!(!may_ask(&["10.0.0.0/8", "fd00::/8"], "192.0.2.1"));
    }
}
