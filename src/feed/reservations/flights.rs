//! Who waits for which ledger: however many requests are short of something, one reservation is under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::write::Waiting;

/// The reservations that are under way, by the uid of the key or owner.
#[derive(Clone, Default)]
pub(super) struct Flights(Arc<Mutex<HashMap<Arc<str>, Flight>>>);

struct Flight {
    waiting: Waiting,
    landed: watch::Sender<Option<bool>>,
}

/// The place of one request.
pub(super) struct Seat(watch::Receiver<Option<bool>>);

/// Held by the task that reserves. When it is dropped, all who wait are told, and whoever comes later begins anew.
pub(super) struct Landing {
    flights: Flights,
    uid: Arc<str>,
    supplied: bool,
}

impl Flights {
    /// Waits with the others. Whoever is the first gets a [`Landing`], and has to reserve.
    pub(super) fn board(&self, uid: &str, credits: u32) -> (Seat, Option<Landing>) {
        let mut flights = self.open();
        if let Some(Flight { waiting, landed }) = flights.get_mut(uid) {
            waiting.requests = waiting.requests.saturating_add(1);
            waiting.credits = waiting.credits.saturating_add(credits.into());
            return (Seat(landed.subscribe()), None);
        }
        let (landed, seat) = watch::channel(None);
        let uid: Arc<str> = uid.into();
        let waiting = Waiting { requests: 1, credits: credits.into() };
        flights.insert(Arc::clone(&uid), Flight { waiting, landed });
        (Seat(seat), Some(Landing { flights: self.clone(), uid, supplied: false }))
    }

    pub(super) fn len(&self) -> usize {
        self.open().len()
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Arc<str>, Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Waits; answers whether there was an answer.
    pub(super) async fn landed(mut self) -> bool {
        self.0.wait_for(Option::is_some).await.is_ok_and(|landed| *landed == Some(true))
    }
}

impl Landing {
    /// Whether anybody still waits.
    pub(super) fn is_awaited(&self) -> bool {
        self.flights.open().get(&self.uid).is_some_and(|flight| flight.landed.receiver_count() > 0)
    }

    /// What all of them wait for, those included that have given up since.
    pub(super) fn waiting(&self) -> Waiting {
        self.flights.open().get(&self.uid).map(|flight| flight.waiting).unwrap_or_default()
    }

    /// Tells all who wait.
    pub(super) fn land(mut self, supplied: bool) {
        self.supplied = supplied;
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let flight = self.flights.open().remove(&self.uid);
        flight.into_iter().for_each(|flight| {
            flight.landed.send_replace(Some(self.supplied));
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn one_reserves_for_all_and_whoever_comes_later_begins_anew() {
        let flights = Flights::default();
        let (first, landing) = flights.board("u1", 3);
        let landing = landing.unwrap();
        let (second, none) = flights.board("u1", 4);
        let (other, others) = flights.board("u2", 1);
        assert!(none.is_none() && others.is_some() && flights.len() == 2);
        assert_eq!(landing.waiting(), Waiting { requests: 2, credits: 7 });
        let mut second = Box::pin(second.landed());
        assert_eq!(second.as_mut().now_or_never(), None);
        landing.land(true);
        assert_eq!((first.landed().now_or_never(), second.now_or_never()), (Some(true), Some(true)));
        let (_, landing) = flights.board("u1", 1);
        assert_eq!(landing.map(|landing| landing.waiting()), Some(Waiting { requests: 1, credits: 1 }));
        drop(others);
        assert_eq!(other.landed().now_or_never(), Some(false), "who reserves has gone");
        assert_eq!(flights.len(), 0);
    }

    #[test]
    fn it_is_known_when_nobody_waits_any_more() {
        let flights = Flights::default();
        let (first, landing) = flights.board("u1", 1);
        let landing = landing.unwrap();
        let (second, _) = flights.board("u1", 1);
        drop(first);
        assert!(landing.is_awaited());
        drop(second);
        assert!(!landing.is_awaited());
        let (third, _) = flights.board("u1", 1);
        assert!(landing.is_awaited());
        landing.land(false);
        assert_eq!(third.landed().now_or_never(), Some(false));
    }
}
