//! What a controller may conclude from the Leases of the processes that judge keys.
//!
//! Instants are readings of this very controller process's clock of the time since boot. What the clocks of other
//! machines say, such as `renewTime`, proves nothing and is not looked at.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Held and changed within this, a Lease tells of a living process.
pub const LIVING: Duration = Duration::from_secs(30);

/// What a Lease said when it was seen.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Lease {
    pub uid: Arc<str>,
    /// Its resourceVersion; `None` when that is no number, and then no two of them are the same.
    pub version: Option<u64>,
    /// `false`: released, its process answers no more.
    pub held: bool,
    /// Highest resourceVersion of an ApiKey that its process has applied.
    pub applied: Option<u64>,
    /// For how long its process may answer without writing it; `None`: not said, so for ever.
    pub duration: Option<Duration>,
}

/// A consistent list of all Leases of judging processes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct List {
    /// When it was asked for.
    pub begun: Duration,
    /// Its resourceVersion.
    pub version: Option<u64>,
    /// By name.
    pub leases: BTreeMap<Arc<str>, Lease>,
}

/// Every Lease that may stand for a process that answers.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Processes(BTreeMap<Arc<str>, Process>);

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Process {
    lease: Lease,
    /// When this content was first seen, or the Lease seen to be gone.
    since: Duration,
    /// Somebody deleted it. Its process does not know yet.
    vanished: bool,
}

/// Whether a version of an ApiKey is enforced.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Judgement {
    /// No process accepts what that version forbids, now or later.
    Enforced,
    Waiting(Waiting),
}

/// For whom one has to wait.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Waiting {
    /// Never empty; by name.
    pub behind: Vec<Behind>,
    /// The instant at which time alone will change that, unless something is heard of them.
    pub at_the_latest: Option<Duration>,
}

/// A process that may still accept what is forbidden.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Behind {
    /// Of its Lease, which begins with the pod's.
    pub name: Arc<str>,
    /// For how long nothing was heard of it.
    pub unchanged_for: Duration,
}

/// A Lease that stands for nobody any more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Expendable {
    pub name: Arc<str>,
    pub uid: Arc<str>,
}

impl Process {
    /// From when on its process has lost its permit, by whatever clock: one that runs 5 % slower than this one has
    /// come to the end of the duration well before this one is a tenth past it.
    fn lapses_at(&self) -> Option<Duration> {
        let duration = self.lease.duration?;
        self.since.checked_add(duration)?.checked_add(duration / 10)
    }

    fn answers_no_more(&self, as_of: Duration) -> bool {
        !self.lease.held || self.lapses_at().is_some_and(|at| at <= as_of)
    }
}

impl Processes {
    /// A watch told of a Lease.
    pub fn saw(&mut self, name: Arc<str>, lease: Lease, now: Duration) {
        // Lists and the watch may tell of one Lease in any order.
        let known = self.0.get(&name);
        let is_news = lease.version.is_none()
            || known.is_none_or(|known| known.lease.uid != lease.uid || known.lease.version < lease.version);
        if is_news {
            self.0.insert(name, Process { lease, since: now, vanished: false });
        }
    }

    /// A list was answered at `now`.
    pub fn listed(&mut self, list: List, now: Duration) {
        let List { begun, version, mut leases } = list;
        for (name, known) in &mut self.0 {
            match leases.remove(name) {
                Some(lease) if is_same(&known.lease, &lease) => {}
                // Heard of after the list was begun, which may be the older of the two.
                Some(lease) if known.since >= begun && known.lease.version > lease.version => {}
                Some(lease) => *known = Process { lease, since: now, vanished: false },
                None if known.vanished || known.lease.version > version => {}
                None => known.vanish(now),
            }
        }
        self.0.retain(|_, known| !(known.vanished && known.answers_no_more(begun)));
        self.0.extend(leases.into_iter().map(|(name, lease)| (name, Process { lease, since: now, vanished: false })));
    }

    /// A watch told that a Lease, as it was at the last, is gone.
    pub fn saw_vanish(&mut self, name: &str, lease: &Lease, now: Duration) {
        let Some(known) = self.0.get_mut(name).filter(|known| known.lease.uid == lease.uid) else {
            return;
        };
        known.lease.held &= lease.held;
        if known.lease.held {
            known.vanish(now);
        } else {
            self.0.remove(name);
        }
    }

    /// This controller has deleted an expendable Lease itself.
    pub fn deleted(&mut self, expendable: &Expendable) {
        if self.0.get(&expendable.name).is_some_and(|known| known.lease.uid == expendable.uid) {
            self.0.remove(&expendable.name);
        }
    }

    /// Whether every process has applied `version`, or answers no more. `as_of` is when the list was begun that
    /// was taken in last, and it must have been begun after `version` was written: a process that is not in
    /// it then claims its Lease, and lists, after that.
    #[must_use]
    pub fn judge(&self, version: u64, as_of: Duration) -> Judgement {
        let behind: Vec<_> = self
            .0
            .iter()
            .filter(|(_, process)| !process.answers_no_more(as_of) && process.lease.applied < Some(version))
            .collect();
        if behind.is_empty() {
            return Judgement::Enforced;
        }
        let at_the_latest =
            behind.iter().map(|(_, process)| process.lapses_at()).max_by_key(|at| at.unwrap_or(Duration::MAX));
        let behind = behind.into_iter().map(|(name, process)| Behind {
            name: Arc::clone(name),
            unchanged_for: as_of.saturating_sub(process.since),
        });
        Judgement::Waiting(Waiting { behind: behind.collect(), at_the_latest: at_the_latest.flatten() })
    }

    /// Whether every living process has applied `version`. What rotation waits for; proves nothing about one that
    /// is frozen.
    #[must_use]
    pub fn living_have_applied(&self, version: u64, now: Duration) -> bool {
        self.living(now).all(|process| process.lease.applied >= Some(version))
    }

    /// How many processes live, as far as has been heard.
    #[must_use]
    pub fn count_living(&self, now: Duration) -> usize {
        self.living(now).count()
    }

    fn living(&self, now: Duration) -> impl Iterator<Item = &Process> {
        let is_living = move |process: &&Process| {
            process.lease.held && !process.vanished && now.saturating_sub(process.since) < LIVING
        };
        self.0.values().filter(is_living)
    }

    /// Leases that stand for nobody any more, as of the begin of the last list.
    #[must_use]
    pub fn expendable(&self, as_of: Duration) -> Vec<Expendable> {
        let mut expendable = Vec::new();
        for (name, process) in &self.0 {
            if !process.vanished && process.answers_no_more(as_of) {
                expendable.push(Expendable { name: Arc::clone(name), uid: Arc::clone(&process.lease.uid) });
            }
        }
        expendable
    }
}

#[cfg(test)]
impl Processes {
    pub(super) fn has_seen(&self, name: &str, version: u64) -> bool {
        self.0.get(name).is_some_and(|known| known.lease.version == Some(version))
    }

    /// Forgets what is not in a list, as nothing but the model without one of its rules does.
    pub(super) fn forget_all_but(&mut self, list: &List) {
        self.0.retain(|name, _| list.leases.contains_key(name));
    }
}

impl Process {
    /// Its process has at most the permit that its last write gave it, which may have come just before.
    fn vanish(&mut self, now: Duration) {
        self.vanished = true;
        self.since = now;
    }
}

fn is_same(known: &Lease, seen: &Lease) -> bool {
    known.uid == seen.uid && known.version == seen.version && seen.version.is_some()
}

#[cfg(test)]
mod tests;
