//! Who is looked after first: a key of which somebody waits to hear never stands behind those that nobody asks for just
//! now, such as ten thousand that are to be rotated in the same minute, or all of them after a start.
//!
//! The queue takes keys in no particular order. So what can wait does not wait there, but here: in the order in which
//! it came, what has begun before what has not, and each is put into the queue again when it is its turn.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::{CONCURRENCY, KeyRef};

/// Keys at the same time that can wait: a quarter of the places is left for those that cannot.
const PATIENT: usize = CONCURRENCY as usize / 4 * 3;

/// How much a key can wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Urgency {
    /// It was made or edited, and what comes of that is not told yet.
    Asked,
    /// It is being rotated.
    Begun,
    /// It may be time for something, or nothing has changed at all.
    Patient,
}

/// The keys that wait for their turn, and those that have it.
pub(super) struct Lanes {
    queue: Mutex<Queue>,
    wake: mpsc::UnboundedSender<KeyRef>,
}

#[derive(Debug, Default)]
struct Queue {
    /// What has begun, and what has not.
    waiting: [VecDeque<KeyRef>; 2],
    /// All of them.
    known: HashSet<KeyRef>,
    /// Keys whose turn it is, and that are on their way here.
    called: HashSet<KeyRef>,
    /// Places that are taken, by those that are called too.
    taken: usize,
}

/// The place of a key while it is looked after.
pub(super) struct Place {
    /// `None`: it takes none of those for keys that can wait.
    lanes: Option<Arc<Lanes>>,
}

impl Lanes {
    /// Keys whose turn it is are sent to `wake`.
    pub(super) fn new(wake: mpsc::UnboundedSender<KeyRef>) -> Self {
        Self { queue: Mutex::default(), wake }
    }

    /// A place for the key; `None`: it waits here from now on, and is woken when it is its turn.
    pub(super) fn enter(self: &Arc<Self>, key: &KeyRef, urgency: Urgency) -> Option<Place> {
        let place = self.queue().enter(key, urgency)?;
        Some(Place { lanes: place.then(|| Arc::clone(self)) })
    }

    /// The key is gone.
    pub(super) fn forget(&self, key: &KeyRef) {
        let called = self.queue().called.remove(key);
        if called {
            self.leave();
        }
    }

    /// A place is free: whoever has waited longest gets it.
    fn leave(&self) {
        let next = self.queue().leave();
        next.into_iter().for_each(|key| {
            // Nobody listens any more once the controller stops.
            let _ = self.wake.send(key);
        });
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Whether the key takes one of the places; `None`: it waits.
    fn enter(&mut self, key: &KeyRef, urgency: Urgency) -> Option<bool> {
        if self.called.remove(key) {
            return Some(true);
        }
        let lane = match urgency {
            Urgency::Asked => return Some(false),
            Urgency::Begun => 0,
            Urgency::Patient => 1,
        };
        if self.taken < PATIENT {
            self.taken += 1;
            return Some(true);
        }
        if self.known.insert(key.clone()) {
            self.waiting[lane].push_back(key.clone());
        }
        None
    }

    fn leave(&mut self) -> Option<KeyRef> {
        let next = self.waiting.iter_mut().find_map(VecDeque::pop_front);
        match &next {
            None => self.taken = self.taken.saturating_sub(1),
            Some(next) => {
                self.known.remove(next);
                self.called.insert(next.clone());
            }
        }
        next
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lanes.iter().for_each(|lanes| lanes.leave());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> KeyRef {
        KeyRef::new(&format!("key-{number}")).within("speech")
    }

    fn lanes() -> (Arc<Lanes>, mpsc::UnboundedReceiver<KeyRef>) {
        let (wake, woken) = mpsc::unbounded_channel();
        (Arc::new(Lanes::new(wake)), woken)
    }

    /// Takes every place there is for keys that can wait.
    fn full(lanes: &Arc<Lanes>) -> Vec<Place> {
        (0..PATIENT).map(|number| lanes.enter(&key(number), Urgency::Patient).unwrap()).collect()
    }

    #[test]
    fn whoever_can_wait_waits_while_all_places_are_taken_and_whoever_cannot_does_not() {
        let (lanes, mut woken) = lanes();
        let places = full(&lanes);
        assert!(lanes.enter(&key(100), Urgency::Patient).is_none());
        assert!(lanes.enter(&key(101), Urgency::Begun).is_none());
        let asked: Vec<_> = (200..300).map(|number| lanes.enter(&key(number), Urgency::Asked)).collect();
        assert!(asked.iter().all(Option::is_some));
        drop(asked);
        assert!(woken.try_recv().is_err(), "they had no place that they could leave to others");
        drop(places);
        assert_eq!([woken.try_recv(), woken.try_recv()], [Ok(key(101)), Ok(key(100))]);
        assert!(woken.try_recv().is_err());
    }

    #[test]
    fn each_waits_once_and_has_its_turn_in_the_order_in_which_it_came() {
        let (lanes, mut woken) = lanes();
        let mut places = full(&lanes);
        for number in [102, 101, 102, 103] {
            assert!(lanes.enter(&key(number), Urgency::Patient).is_none());
        }
        for number in [102, 101, 103] {
            drop(places.pop());
            assert_eq!(woken.try_recv(), Ok(key(number)));
            assert!(lanes.enter(&key(900), Urgency::Patient).is_none(), "the place is promised");
            places.push(lanes.enter(&key(number), Urgency::Patient).unwrap());
        }
        assert!(lanes.enter(&key(102), Urgency::Patient).is_none(), "it may come again");
    }

    #[test]
    fn a_key_that_is_gone_when_it_is_its_turn_leaves_its_place_to_the_next() {
        let (lanes, mut woken) = lanes();
        let mut places = full(&lanes);
        for number in [101, 102] {
            assert!(lanes.enter(&key(number), Urgency::Patient).is_none());
        }
        drop(places.pop());
        assert_eq!(woken.try_recv(), Ok(key(101)));
        lanes.forget(&key(101));
        assert_eq!(woken.try_recv(), Ok(key(102)));
        lanes.forget(&key(101));
        lanes.forget(&key(102));
        assert!(woken.try_recv().is_err());
        assert!(lanes.enter(&key(103), Urgency::Patient).is_some(), "no place is lost");
        drop(places);
        assert_eq!(lanes.queue().taken, 0);
    }
}
